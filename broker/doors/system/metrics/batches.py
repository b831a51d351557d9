"""How long jobs waited, and what their batches took: histograms from the batches that the timeline names.

They begin with the first scrape of this door, and each scrape reads what has come since the last one. Of more than
about 20,000 events in between the oldest are missing, because the timeline keeps no more.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import redis
from prometheus_client import CollectorRegistry, Histogram

from golem_chain.broker.doors.system import views
from golem_chain.broker.doors.system.feed import parse
from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES
from golem_chain.shared.json_object import JsonObject

#: Upper bounds of the buckets, seconds: from a step of a small model to a cold load or an hour of audio.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
#: The same, jobs of a batch.
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
#: Events that are read at once; rounds of one scrape.
AT_ONCE, ROUNDS = 1000, 25


class Batches:
    """The histograms of one door."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, told: str, buckets: Sequence[float]) -> Histogram:
            made = Histogram(name, told, ["stage"], registry=registry, buckets=buckets)
            for stage in STAGES:
                made.labels(stage)  # from the start at 0, so that a rate sees the first one
            return made

        told = "How long each job waited for a stage: in its queue, and for others of its take."
        self._waiting = histogram("golem_stage_waiting_seconds", told, SECONDS)
        told = "How long each batch waited for its model to load; 0 if it was resident."
        self._load = histogram("golem_batch_load_seconds", told, SECONDS)
        told = "How long each batch computed."
        self._compute = histogram("golem_batch_compute_seconds", told, SECONDS)
        self._size = histogram("golem_batch_jobs", "How many jobs each batch answered.", SIZES)
        self._last: str | None = None  # id of the newest event that was counted

    def read(self, client: redis.Redis, keys: Keys) -> int:
        """Count the batches that have come since the last call; return how many events were read. `client` must decode
        replies. Raises redis.RedisError if Redis fails."""
        if self._last is None:
            newest = cast("list[Any]", client.xrevrange(keys.events, count=1))
            self._last = newest[0][0] if newest else "0-0"
            return 0
        read = 0
        for _ in range(ROUNDS):
            found = cast("list[Any]", client.xrange(keys.events, f"({self._last}", count=AT_ONCE))
            self.count(entry.told for id, fields in found if (entry := parse(id, fields)))
            read += len(found)
            if found:
                self._last = found[-1][0]
            if len(found) < AT_ONCE:
                break
        return read

    def count(self, events: Iterable[JsonObject]) -> None:
        """Count those events that are batches."""
        for told in events:
            stage = told.get("stage")
            if told["kind"] != "batch" or stage not in STAGES:
                continue
            waits = told.get("queued_s")
            for wait in waits if isinstance(waits, list) else ():
                _observe(self._waiting, stage, wait)
            _observe(self._load, stage, told.get("load_s"))
            _observe(self._compute, stage, told.get("compute_s"))
            _observe(self._size, stage, told.get("size"))


def _observe(histogram: Histogram, stage: str, value: object) -> None:
    found = views.number(value)
    if found is not None and found >= 0:
        histogram.labels(stage).observe(found)
