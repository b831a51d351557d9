"""Writes docs/metrics.md from the metrics of broker/doors/system, so that the table cannot differ from the code.

usage: make docs
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import Metric

from golem_chain.broker.doors.system.metrics import families
from golem_chain.broker.doors.system.metrics.scrape import Metrics
from golem_chain.broker.doors.system.reader import Reader
from golem_chain.broker.monitoring.counts import STATES, Counts
from golem_chain.broker.queues import LANES, STAGES
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings

TARGET = Path(__file__).parents[1] / "metrics.md"
HEAD = """# Metrics

What `/metrics` of [`golem serve`](how-to/serve.md) tells. [Metrics and alerts](how-to/metrics.md) says how to scrape
it, and what to watch. `make docs` generates this page from `broker/doors/system/metrics/`.

Labels are few and bounded: stages, lanes, states, the names of at most 200 workers, the templates of routes. No id, no
name of a file and nothing that anybody said is in them.
"""
OF_SYSTEM = """
## Of the system

Read from Redis at each scrape, so that every door of a system tells the same: over several doors take `max by (…)`, not
`sum by (…)`. What a worker counts begins again at 0 when it restarts. Where Redis is away, only `golem_up` and
`golem_build_info` are left.
"""
OF_BATCHES = """
## Of batches

Histograms of all batches of the system that have ended since the first scrape of this door. Each door counts all of
them, so here too take `max by (le, …)`. Their buckets end at 5 ms, 10 ms, … 120 s.
"""
OF_DOOR = """
## Of this door

What this process has answered since it started. `process_…` are the usual ones of a process: memory, CPU time, open
files.
"""
TABLE = "\n| metric | type | labels | meaning |\n|---|---|---|---|\n"


class Row(NamedTuple):
    """A metric."""

    name: str  # of a counter with `_total`, of a histogram without `_bucket`
    type: str
    labels: tuple[str, ...]
    told: str
    part: str  # of the page


def overview() -> JsonObject:
    """An overview of a system in which everything occurs."""
    lane = {"waiting": 1, "oldest_s": 2.0}
    counted = dict.fromkeys(STAGES, 1)
    box = {"resident": [STAGES[0]], "device": "cuda:0", "queues": list(STAGES), "in_hand": 1, "switches": 1}
    box |= dict.fromkeys(("allocated", "reserved", "free", "peak", "budget"), 1 << 30)
    box |= {"loads_of": counted, "unloads_of": counted, "ooms_of": counted}
    queues = {stage: lane | {"lanes": dict.fromkeys(LANES, lane)} for stage in STAGES}
    return {"now_at": 0.0, "queues": queues, "in_hand": 1, "boxes": {"box@host": box}, "dead": 1}


def sampled() -> tuple[list[Metric], list[Metric]]:
    """The metrics of a system in which everything occurs, and those of a door that has answered one request."""
    settings = Settings.read(_env_file=None)
    made = Metrics(settings, Reader(settings))
    made.requests.answered.labels("/v1/jobs", "GET", "200")
    made.requests.first_byte.labels("/v1/jobs")
    own = list(made.registry.collect())
    read = families.of_system(overview(), Counts(dict.fromkeys(STATES, 1)), settings.vault_limit)
    return [families.up(True), families.build(), *read], own


def rows() -> list[Row]:
    """All metrics in the order of the page."""
    read, own = sampled()
    batches = [one for one in own if one.name.startswith(("golem_stage_", "golem_batch_"))]
    door = [one for one in own if one.name.startswith("golem_") and one not in batches]
    parts = ((OF_SYSTEM, read), (OF_BATCHES, batches), (OF_DOOR, door))
    return [_row(one, part) for part, some in parts for one in some]


def names() -> set[str]:
    """The names of all series, as queries use them."""
    read, own = sampled()
    return {sample.name for one in (*read, *own) for sample in one.samples}


def _row(one: Metric, part: str) -> Row:
    labels = [name for sample in one.samples[:1] for name in sample.labels if name != "le"]
    suffix = "_total" if one.type == "counter" else ""
    return Row(one.name + suffix, one.type, tuple(labels), one.documentation, part)


def page() -> str:
    """The whole text of docs/metrics.md."""
    found = rows()
    return HEAD + "".join(f"{part}{TABLE}{_table(found, part)}" for part in (OF_SYSTEM, OF_BATCHES, OF_DOOR))


def _table(found: Iterable[Row], part: str) -> str:
    def line(row: Row) -> str:
        labels = ", ".join(f"`{label}`" for label in row.labels) or "–"
        return f"| `{row.name}` | {row.type} | {labels} | {row.told} |\n"

    return "".join(line(row) for row in found if row.part is part)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
