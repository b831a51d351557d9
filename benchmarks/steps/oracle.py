"""The Oracle's steps beside transformers' `generate` in float32, in one process of its own:
`python -P -m golem_chain.benchmarks.steps.oracle < request > findings`.

A step's time is the difference between texts of `LONG` and of `SHORT` tokens ÷ their difference, so that prompts do not
count. The calls take turns.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from golem_chain.benchmarks.clock import medians
from golem_chain.benchmarks.switch.measure import model_class
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Intent, Label, LabelSet, OracleParams
from golem_chain.shared.settings import Settings
from golem_chain.workers.child.factory import build_residency
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.oracle.engine import Oracle, Prompt, ReplyRequest
from golem_chain.workers.store.manifest import find

SHORT, LONG = 8, 24
ROWS = (1, 16)
#: Operations that only describe the same memory anew: no kernel runs for them on a card.
_VIEWS = frozenset(
    ("view", "_unsafe_view", "t", "transpose", "slice", "select", "unsqueeze", "squeeze", "expand", "as_strided",
     "detach", "alias", "permute", "reshape", "split", "unbind", "lift_fresh", "unfold", "chunk",
     "split_with_sizes")
)  # fmt: skip
_HOT = 1.5  # temperature at which hardly any reply ends by itself


class Kernels(TorchDispatchMode):
    """Counts the operations that reach the device, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.names[func._schema.name.split("::")[1]] += 1
        return func(*args, **(kwargs or {}))

    @property
    def count(self) -> int:
        """Operations so far."""
        return sum(count for name, count in self.names.items() if name not in _VIEWS)


def counted(call: Callable[[], object]) -> int:
    """Return the operations of one call."""
    kernels = Kernels()
    with kernels:
        call()
    return kernels.count


def asked(oracle: Oracle, rows: int) -> list[Prompt]:
    """Return prompts of usual length."""
    labels = LabelSet(labels=(Label(name="lights_on"),))
    intent = Intent(label="lights_on", score=1.0, scores={"lights_on": 1.0}, method="cosine")
    params = OracleParams(max_new_tokens=LONG, temperature=_HOT)
    said = [f"please turn on the lights in room number {n} and play some music" for n in range(rows)]
    found = [oracle.prepare(ReplyRequest(text, intent, labels, params, n)) for n, text in enumerate(said)]
    return [cast(Ready[Prompt], one).item for one in found]


def length(prompts: Sequence[Prompt], tokens: int) -> list[Prompt]:
    """Return the same prompts with another number of new tokens."""
    return [replace(one, rules=replace(one.rules, max_new_tokens=tokens)) for one in prompts]


def measure(settings: Settings, rounds: int) -> JsonObject:
    """Return, by the number of rows: seconds of a step on both sides, and kernels of a step of ours."""
    residency = build_residency(settings)
    oracle = cast(Oracle, residency.engines["oracle"])
    oracle.load()
    checkpoint = find(settings, "oracle")
    theirs = model_class(checkpoint).from_pretrained(checkpoint.folder, dtype=torch.float32).eval()
    found: JsonObject = {"model": residency.model("oracle").split("/")[-1], "weights_bytes": oracle.weights_bytes}
    for rows in ROWS:
        found[str(rows)] = _rows(oracle, theirs, rows, rounds)
    return found


def _rows(oracle: Oracle, theirs: Any, rows: int, rounds: int) -> JsonObject:
    prompts = asked(oracle, rows)
    width = max(len(one.tokens) for one in prompts)
    ids = torch.tensor([[0] * (width - len(one.tokens)) + list(one.tokens) for one in prompts])
    mask = torch.tensor([[0] * (width - len(one.tokens)) + [1] * len(one.tokens) for one in prompts])
    rules = {"do_sample": True, "temperature": _HOT, "top_k": 50, "pad_token_id": 0}

    def ours(tokens: int) -> object:
        return oracle.run(length(prompts, tokens))

    def generate(tokens: int) -> object:
        return theirs.generate(ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, **rules)

    ours(SHORT), generate(SHORT)  # first use
    times = medians(
        rounds,
        ours=lambda: ours(LONG),
        ours_short=lambda: ours(SHORT),
        theirs=lambda: generate(LONG),
        theirs_short=lambda: generate(SHORT),
    )
    steps = LONG - SHORT
    kernels = counted(lambda: ours(LONG)) - counted(lambda: ours(SHORT))
    return {
        "step_s": (times["ours"] - times["ours_short"]) / steps,
        "generate_s": (times["theirs"] - times["theirs_short"]) / steps,
        "kernels": round(kernels / steps),
    }


def main() -> None:
    """Read the request from stdin and write the findings to stdout, one JSON object each."""
    ask = json.load(sys.stdin)
    found = measure(Settings.read(_env_file=None, **ask["settings"]), int(ask["rounds"]))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
