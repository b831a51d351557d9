"""What a processor is fast at and what a worker runs there, in a process whose instructions may be masked:
`python -P -m golem_chain.benchmarks.steps.processors < request > findings`.
"""

import json
import sys
from collections.abc import Mapping
from typing import cast

import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.benchmarks.clock import medians
from golem_chain.broker.queues import STAGES
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.child.factory import build_residency
from golem_chain.workers.stages.scribe.engine import Scribe

NO_BFLOAT16 = "without bfloat16 instructions"
#: Processors → the environment in which this one computes like them. Sources: oneDNN's developer guide, "CPU dispatcher
#: control"; PyTorch's ATen/native/DispatchStub.cpp.
MASKS: Mapping[str, Mapping[str, str]] = {
    "as it is": {},
    NO_BFLOAT16: {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
    "AVX2 only": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
}
#: Products (rows × in × out) as the quest profile's stages have them.
PRODUCTS: Mapping[str, tuple[int, int, int]] = {
    "NLI, 250 × 1024 × 4096": (250, 1024, 4096),
    "Scribe, 1500 × 384 × 1536": (1500, 384, 1536),
    "vocabulary, 16 × 576 × 49152": (16, 576, 49152),
}
_ROUNDS = 7


def products() -> dict[str, dict[str, float]]:
    """Return the seconds of each product in float32 and bfloat16."""
    found = {}
    for name, (rows, inner, outer) in PRODUCTS.items():
        given, weight = torch.randn(rows, inner), torch.randn(outer, inner)
        halves = given.bfloat16(), weight.bfloat16()
        with torch.inference_mode():
            F.linear(given, weight), F.linear(*halves)  # first use
            found[name] = medians(
                _ROUNDS,
                float32=lambda a=given, b=weight: F.linear(a, b),  # type: ignore[misc]
                bfloat16=lambda pair=halves: F.linear(*pair),  # type: ignore[misc]
            )
    return found


def runs(settings: Settings) -> dict[str, str]:
    """Return what a worker with these settings runs, by stage."""
    residency = build_residency(settings)
    found = {stage: residency.model(stage).partition("@")[2].partition(" ")[2] for stage in STAGES}
    scribe = cast(Scribe, residency.engines["scribe"])
    product = str(scribe.transcriber.product).removeprefix("torch.")
    if product not in found["scribe"]:
        found["scribe"] += f" with {product} products"
    return found


def main() -> None:
    """Read the request from stdin and write the findings to stdout, one JSON object each."""
    ask = json.load(sys.stdin)
    settings = Settings.read(_env_file=None, **ask["settings"])
    found: JsonObject = {"runs": runs(settings), "products": products()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
