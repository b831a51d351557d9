"""Writes docs/cards.md: what the program decides on some cards, computed by its own functions.

usage: make docs
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers

from golem_chain.benchmarks.switch.shapes import SHAPES
from golem_chain.shared.errors import GolemError
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.memory import Reading, budget_bytes, context_bytes
from golem_chain.workers.devices.selection import choose_device, pick_dtype
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.stages.interpreter.engine import Interpreter
from golem_chain.workers.stages.oracle.engine import Oracle
from golem_chain.workers.stages.scribe.engine import Scribe
from golem_chain.workers.stages.scribe.transcribe import AUTO_BEAMS
from golem_chain.workers.store.skeleton import Skeleton

TARGET = Path(__file__).parents[1] / "cards.md"
GIB = 1 << 30
#: The driver's context after the first product and convolution, an assumption: a worker measures it.
CONTEXT = 400 << 20
#: Architectures that the wheels of torch 2.13 for CUDA 13 are built for (`torch.cuda.get_arch_list()`), and NVIDIA's
#: own build for Jetson.
DESKTOP = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
ARM = ("sm_80", "sm_90", "sm_100", "sm_110", "sm_120")
JETSON = ("sm_87",)
STAGES: dict[str, Any] = {"scribe": Scribe, "interpreter": Interpreter, "oracle": Oracle}


@dataclass(frozen=True)
class Box:
    """A card with its nominal memory, and what other programs hold of it."""

    card: Card
    others: int = 0
    who: str = ""
    built_for: tuple[str, ...] = DESKTOP

    @property
    def label(self) -> str:
        """The card as the page names it."""
        taken = f", {self.others / GIB:g} GB used by {self.who}" if self.others else ""
        return f"{self.card.name}, {self.card.total_bytes // GIB} GB{taken}"


BOXES = (
    Box(Card("GTX 1650", (7, 5), 4 * GIB)),
    Box(Card("RTX 2060", (7, 5), 6 * GIB)),
    Box(Card("RTX 3050", (8, 6), 8 * GIB)),
    Box(Card("RTX 4060", (8, 9), 8 * GIB)),
    Box(Card("Jetson Orin Nano or NX", (8, 7), 8 * GIB, integrated=True), 5 * GIB // 2, "the system", ARM),
    Box(Card("RTX 3060", (8, 6), 12 * GIB), 9 * GIB, "another program"),
)
#: Profile → stage → config class, its arguments, class of the model. The bundled shapes are those of the catalog's
#: checkpoints, by their config.json.
PROFILES: dict[str, dict[str, tuple[str, dict[str, Any], str]]] = {
    "quest": {stage: (config, given, model) for stage, (_, config, given, model) in SHAPES.items()},
    "bundled": {
        "scribe": ("WhisperConfig", {"vocab_size": 51864}, "WhisperForConditionalGeneration"),
        "interpreter": (
            "BertConfig",
            {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
            "BertModel",
        ),
        "oracle": (
            "LlamaConfig",
            {
                "vocab_size": 49152,
                "hidden_size": 576,
                "intermediate_size": 1536,
                "num_hidden_layers": 30,
                "num_attention_heads": 9,
                "num_key_value_heads": 3,
                "tie_word_embeddings": True,
            },
            "LlamaForCausalLM",
        ),
    },
}
#: Larger models that somebody may choose: (stage, name, shape).
LARGER: tuple[tuple[str, str, tuple[str, dict[str, Any], str]], ...] = (
    (
        "scribe",
        "openai/whisper-large-v3",
        (
            "WhisperConfig",
            {
                "vocab_size": 51866,
                "d_model": 1280,
                "encoder_layers": 32,
                "decoder_layers": 32,
                "encoder_attention_heads": 20,
                "decoder_attention_heads": 20,
                "encoder_ffn_dim": 5120,
                "decoder_ffn_dim": 5120,
                "num_mel_bins": 128,
            },
            "WhisperForConditionalGeneration",
        ),
    ),
    ("oracle", "a 7B model in Llama's shape", ("LlamaConfig", {}, "LlamaForCausalLM")),
)


@cache
def _built(config_class: str, given: str, model_class: str) -> tuple[Any, int]:
    """The config of a shape, and the number of its weights; built without weights. `given`: JSON."""
    config = getattr(transformers, config_class)(**json.loads(given))
    kind: Callable[[Any], Any] = getattr(transformers, model_class)
    model = Skeleton(kind, config, torch.float16).model
    return config, sum({id(one): one.numel() for one in model.parameters()}.values())


def size_of(shape: tuple[str, dict[str, Any], str]) -> tuple[Any, int]:
    """The config of a shape, and the number of its weights."""
    return _built(shape[0], json.dumps(shape[1]), shape[2])


class Shape:
    """An engine of a shape on a card: real sizes and plans, no weights."""

    def __init__(
        self, stage: str, shape: tuple[str, dict[str, Any], str], dtype: torch.dtype, memory: "Memory"
    ) -> None:
        config, count = size_of(shape)
        self.name, self.weights_bytes, self.loaded, self._memory = stage, count * dtype.itemsize, False, memory
        self._engine = object.__new__(STAGES[stage])
        self._engine.weights = SimpleNamespace(config=config, dtype=dtype)
        self._engine.settings = Settings.read(_env_file=None)
        if stage == "scribe":
            self._engine.transcriber, self._engine.beams = SimpleNamespace(product=dtype), AUTO_BEAMS

    def working_bytes(self, batch: int) -> int:
        """As the engine of the stage plans it."""
        return int(self._engine.working_bytes(batch))

    def load(self) -> None:
        """Fail as torch does if the card has not that much free memory."""
        if self.weights_bytes > self._memory.read().free:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.loaded = True

    def unload(self) -> None:
        """Free it."""
        self.loaded = False

    def prepare(self, request: Any) -> Any:
        """Not used."""
        return request

    def run(self, batch: Any) -> Any:
        """Not used."""
        return batch


class Memory:
    """The memory of a box: what the driver would report."""

    device = "cuda:0"

    def __init__(self, box: Box) -> None:
        self._box, self.engines = box, dict[str, Shape]()

    def read(self) -> Reading:
        """The reading that the worker would have."""
        total, ours = self._box.card.total_bytes, sum(one.weights_bytes for one in self.engines.values() if one.loaded)
        free = max(0, total - self._box.others - CONTEXT - ours)
        context = context_bytes(free, total, ours)
        return Reading(ours + context, ours + context, free, ours + context, total, context)

    def reset_peak(self) -> None:
        """Nothing runs."""

    def give_back(self) -> None:
        """Nothing is cached."""

    def limit(self, budget_bytes: int) -> None:
        """Nothing is allocated."""


def residency(box: Box, shapes: dict[str, tuple[str, dict[str, Any], str]]) -> Residency:
    """The residency that a worker would have on the box with GOLEM_RESIDENT=auto."""
    memory, settings = Memory(box), Settings.read(_env_file=None)
    memory.engines = {
        stage: Shape(stage, shape, pick_dtype(settings, box.card, stage), memory) for stage, shape in shapes.items()
    }
    engines: dict[str, Any] = dict(memory.engines)
    budget = budget_bytes(settings.memory_budget, memory.read().total)
    return Residency(engines, memory, "auto", budget)


def row(box: Box) -> str:
    """The row of a box."""
    settings, found = Settings.read(_env_file=None), residency(box, PROFILES["quest"])
    dtypes = [str(pick_dtype(settings, box.card, stage)).removeprefix("torch.") for stage in STAGES]
    cells = [
        box.label,
        "{}.{}".format(*box.card.capability),
        dtypes[0] if len(set(dtypes)) == 1 else f"{dtypes[0]}, oracle {dtypes[2]}",
        format_bytes(found.budget_bytes),
        format_bytes(found.room_bytes),
        *(_resident(box, profile) for profile in PROFILES),
        str(found.batch_limit("scribe", 8)),
    ]
    return f"| {' | '.join(cells)} |"


def _resident(box: Box, profile: str) -> str:
    """What stays resident after one job with batches of 8."""
    found = residency(box, PROFILES[profile])
    for stage in STAGES:
        with found.use(stage, found.batch_limit(stage, 8)):
            pass
    held = sum(found.engines[stage].weights_bytes for stage in found.resident)
    names = "all three" if len(found.resident) == len(STAGES) else ", ".join(found.resident)
    return f"{names}, {format_bytes(held)}"


def refusals() -> str:
    """What happens with larger models on each box."""
    lines = []
    for stage, name, shape in LARGER:
        lines += [f"\n`GOLEM_{stage.upper()}_MODEL` = {name}:\n"]
        for box in BOXES:
            found = residency(box, {stage: shape})
            try:
                with found.use(stage, found.batch_limit(stage, 1)):
                    said = f"runs, {format_bytes(found.engines[stage].weights_bytes)} of weights"
            except GolemError as exc:
                said = f"{'retried' if exc.retryable else 'refused'}: “{exc.message}”"
            lines.append(f"- {box.label}: {said}")
    return "\n".join(lines)


def builds() -> str:
    """What GOLEM_DEVICE=auto chooses with which build of torch."""
    lines = []
    for box in BOXES:
        chosen = choose_device("auto", [box.card], box.built_for)
        lines.append(
            f"- {box.card.name}: `{chosen.device}`{f'. The doctor warns: “{chosen.warning}”' if chosen.warning else ''}"
        )
        if box.card.integrated:
            theirs = choose_device("auto", [box.card], JETSON)
            lines.append(f"- {box.card.name}, NVIDIA's build for Jetson ({', '.join(JETSON)}): `{theirs.device}`")
    return "\n".join(lines)


HEAD = f"""# Cards

What a worker decides on cards that were not at hand. **Computed, not run**: by the program's own functions, from each
card's nominal memory and compute capability. `make docs` writes this page, and a test compares it with the
computation. [Memory](memory.md#measured-on-an-h100) has what was measured on a card, an H100.

Assumed is a driver's context of {format_bytes(CONTEXT)}; a worker measures it (726 MB on an H100). What other programs
hold at the first reading counts as context too, up to 1 GiB, because the driver reports only the sum. Sizes are those
of the published shapes. The default budget is 80 % of the memory, which is taken in GiB. The table is for
`GOLEM_RESIDENT=auto`; with the default, `1`, one model stays at a time.

## What stays resident

| card | capability | dtype | budget | for models and batches | quest | bundled | windows at once |
|---|---|---|---|---|---|---|---|
"""
MIDDLE = """

- Cards before Ampere (compute capability below 8.0) have no bfloat16, so the Oracle runs in float16 there. GTX 16xx
  cards are known for convolutions in float16 that give NaN: Whisper's run in float32 on every card.
- The budget is a bound, not a reservation. Where other programs hold more than it assumes, an allocation fails below
  it: the batch is halved, and jobs that fail even so are retried later. Set `GOLEM_MEMORY_BUDGET` to what is free
  there.
- An integrated card shares its memory with the programs of the host. Weights have no second, pinned copy there.

## Which build of torch

`GOLEM_DEVICE=auto`, with the wheels of torch 2.13 for CUDA 13:

"""
LAST = """

## What is refused

The answer of a job that needs the model. A refused job fails at once, before anything is unloaded; other jobs are tried
again later.
"""


def page() -> str:
    """The whole text of docs/cards.md."""
    return HEAD + "\n".join(map(row, BOXES)) + MIDDLE + builds() + LAST + refusals() + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
