"""The Oracle's steps beside transformers' `generate` in float32, in one process of its own:
`python -P -m golem_chain.benchmarks.steps.oracle < request > findings`.

Prompts do not count: a step of ours is the difference between texts of `LONG` and of `SHORT` tokens ÷ their difference,
one of `generate` the time between two calls of its logits processors. The calls take turns.
"""

import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LogitsProcessor

from golem_chain.benchmarks.clock import medians
from golem_chain.benchmarks.switch.measure import model_class
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Intent, Label, LabelSet, OracleParams
from golem_chain.shared.settings import Settings
from golem_chain.workers.child.factory import build_residency
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.oracle.engine import Oracle, Prompt, ReplyRequest
from golem_chain.workers.stages.oracle.foreign import read_prefix
from golem_chain.workers.stages.oracle.prompts import shared_start
from golem_chain.workers.store.manifest import find

SHORT, LONG = 4, 16
ROWS = (1, 16)
#: Operations that only describe the same memory anew: no kernel runs for them on a card.
_VIEWS = frozenset(
    ("view", "_unsafe_view", "t", "transpose", "slice", "select", "unsqueeze", "squeeze", "expand", "as_strided",
     "detach", "alias", "permute", "split", "unbind", "lift_fresh", "unfold", "chunk",
     "split_with_sizes")
)  # fmt: skip
#: Operations that do so where they can, and copy otherwise.
_PERHAPS_VIEWS = frozenset(("flatten", "reshape", "to", "contiguous"))
_HOT = 1.5  # temperature at which hardly any reply ends by itself


class Kernels(TorchDispatchMode):
    """Counts the operations that reach the device, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name, found = func._schema.name.split("::")[1], func(*args, **(kwargs or {}))
        same = name in _PERHAPS_VIEWS and found.data_ptr() == args[0].data_ptr()
        self.names["view" if same else name] += 1
        return found

    @property
    def count(self) -> int:
        """Operations so far."""
        return sum(count for name, count in self.names.items() if name not in _VIEWS)


class _Clock(LogitsProcessor):
    """Notes when the logits of each step are there."""

    def __init__(self) -> None:
        self.at_s: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        del input_ids
        self.at_s.append(time.perf_counter())
        return scores

    @property
    def step_s(self) -> float:
        """Seconds from one step to the next, in the mean."""
        return (self.at_s[-1] - self.at_s[0]) / (len(self.at_s) - 1)


def counted(call: Callable[[], object]) -> int:
    """Return the operations of one call."""
    kernels = Kernels()
    with kernels:
        call()
    return kernels.count


def asked(oracle: Oracle, rows: int) -> list[Prompt]:
    """Return prompts of usual length, all of the same number of tokens."""
    labels = LabelSet(labels=(Label(name="lights_on"),))
    intent = Intent(label="lights_on", score=1.0, scores={"lights_on": 1.0}, method="cosine")
    params = OracleParams(max_new_tokens=LONG, temperature=_HOT)
    said = [f"please turn on the lights in room number {10 + n} and play some music" for n in range(rows)]
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
    ids = torch.tensor([one.tokens for one in prompts])
    mask, read = torch.ones_like(ids), _read(theirs, prompts)
    rules = {"do_sample": True, "temperature": _HOT, "top_k": 50, "pad_token_id": 0}

    def ours(tokens: int) -> object:
        return oracle.run(length(prompts, tokens))

    def generate(tokens: int) -> float:
        clock = _Clock()
        theirs.generate(
            ids,
            attention_mask=mask,
            past_key_values=deepcopy(read),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            logits_processor=[clock],
            **rules,
        )
        return clock.step_s

    ours(SHORT), generate(2)  # first use
    generated_s: list[float] = []
    times = medians(
        rounds,
        ours=lambda: ours(LONG),
        ours_short=lambda: ours(SHORT),
        theirs=lambda: generated_s.append(generate(LONG)),
    )
    steps = LONG - SHORT
    kernels = counted(lambda: ours(LONG)) - counted(lambda: ours(SHORT))
    return {
        "step_s": (times["ours"] - times["ours_short"]) / steps,
        "generate_s": statistics.median(generated_s),
        "kernels": round(kernels / steps),
    }


@torch.inference_mode()
def _read(theirs: Any, prompts: Sequence[Prompt]) -> Any:
    """The keys and values of what all prompts start with, for each row: a step needs them, and reading them for each of
    16 rows would take most of this benchmark's time."""
    cache = read_prefix(theirs, shared_start([one.tokens[:-1] for one in prompts]))
    cache.batch_repeat_interleave(len(prompts))
    return cache


def main() -> None:
    """Read the request from stdin and write the findings to stdout, one JSON object each."""
    ask = json.load(sys.stdin)
    found = measure(Settings.read(_env_file=None, **ask["settings"]), int(ask["rounds"]))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
