"""Costs of the stages, measured or from a file, as input of the simulation."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import BadRequest


@dataclass(frozen=True)
class Cost:
    """One stage on one box. A batch of n takes `batch_s + n * item_s`."""

    load_s: float
    batch_s: float
    item_s: float
    megabytes: float  # of its weights

    def seconds(self, n: int) -> float:
        """Return the time of a batch of n without a load, seconds."""
        return self.batch_s + n * self.item_s

    def take_s(self, n: int, batch: int) -> float:
        """Return the time of a take of n in batches of at most `batch`, without a load, seconds."""
        return ceil(n / batch) * self.batch_s + n * self.item_s


Costs = Mapping[str, Cost]

#: Sleeping engines: 150 ms per load, 20 ms per job; a box has memory for one model.
SLEEPING: Costs = dict.fromkeys(STAGES, Cost(0.15, 0.0, 0.02, 1000))

#: The quest profile's shapes (whisper-tiny, distilbart-mnli-12-3 with ten labels, distilgpt2 with 40 tokens) in float32
#: on 2 idle cores without a GPU: batches of 1 took 0.48, 1.40 and 1.12 s, an item in a batch of 8 took 0.40, 0.80 and
#: 0.47 s; loads from the page cache, 1 thread.
MEASURED: Costs = {
    "scribe": Cost(load_s=0.013, batch_s=0.091, item_s=0.389, megabytes=151),
    "interpreter": Cost(load_s=0.070, batch_s=0.686, item_s=0.714, megabytes=1025),
    "oracle": Cost(load_s=0.021, batch_s=0.743, item_s=0.377, megabytes=328),
}

#: Measured time from publishing to the start of the batch on an idle box, seconds: peek, take, pool, child.
HOP_S = 0.005


def fitted(timed: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return (batch_s, item_s) of measured batches (size, seconds): the line of least squares, with neither part below
    0. Batches of one size only say nothing of `batch_s`, which is then 0. Raises ValueError if there are none."""
    if not timed:
        raise ValueError("no batches were measured")
    sizes, seconds = [size for size, _ in timed], [took for _, took in timed]
    if len(set(sizes)) > 1:
        line = statistics.linear_regression(sizes, seconds)
        if line.slope >= 0 and line.intercept >= 0:
            return line.intercept, line.slope
    through_0 = sum(size * took for size, took in timed) / sum(size * size for size in sizes)
    return 0.0, through_0


def write(file: Path, costs: Costs) -> None:
    """Write costs as `read` expects them."""
    told = {stage: {key: round(value, 4) for key, value in vars(cost).items()} for stage, cost in costs.items()}
    file.write_text(json.dumps(told, indent=1) + "\n")


def read(file: Path | None) -> Costs:
    """Return MEASURED, or the costs in a JSON file: `{"scribe": {"load_s": …, "batch_s": …, "item_s": …, "megabytes":
    …}, …}`. Raises BadRequest if the file is malformed."""
    if file is None:
        return MEASURED
    try:
        told = json.loads(file.read_text())
        return {stage: Cost(**{key: float(value) for key, value in told[stage].items()}) for stage in STAGES}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BadRequest(
            f"{file} does not hold the costs of {', '.join(STAGES)} ({type(exc).__name__}: {exc}): give each stage "
            "load_s, batch_s, item_s and megabytes."
        ) from None
