"""A worker with sleeping engines: `python -m golem_chain.benchmarks.fleet.sleeper NAME`, with Redis in GOLEM_REDIS_URL.

It holds one model at a time, and pushes its loads and batches to the Redis list `LOG`.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from redis import Redis

from golem_chain.benchmarks.fleet.costs import SLEEPING
from golem_chain.broker.queues import STAGES
from golem_chain.shared.records import Intent, Reply, Transcript
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import tasks
from golem_chain.workers.devices.memory import CpuMemory
from golem_chain.workers.parent.worker import start
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.stub import StubEngine

LOG = "bench:log"
_ANSWERS: dict[str, Callable[[str], object]] = {
    "scribe": lambda job: Transcript(text=job),
    "interpreter": lambda _: Intent(label="any", score=1.0, method="cosine"),
    "oracle": lambda job: Reply(text=job, prompt=job, seed=0, new_tokens=1),
}


@dataclass
class Sleeper(StubEngine):
    """An engine that sleeps for its cost. The text of a job is its number."""

    _loaded_at: list[float] = field(default_factory=list)  # the last load, until its batch is logged

    def load(self) -> None:
        """Sleep for a load."""
        if not self.loaded:
            self._loaded_at.append(time.time())
            time.sleep(SLEEPING[self.name].load_s)
        super().load()

    def prepare(self, ask: Any) -> object:
        """The text of the job."""
        return Ready(ask.data.decode() if self.name == "scribe" else ask.text)

    def run(self, batch: Sequence[Any]) -> list[object]:
        """Sleep for the batch, and log it."""
        loads = bool(self._loaded_at)
        began = self._loaded_at.pop() if loads else time.time()
        time.sleep(SLEEPING[self.name].seconds(len(batch)))
        told = {"box": sys.argv[1], "stage": self.name, "jobs": [int(job) for job in batch]}
        self._log.rpush(LOG, json.dumps({**told, "load": loads, "began": began, "ended": time.time()}))
        return [_ANSWERS[self.name](job) for job in batch]

    @cached_property
    def _log(self) -> Redis:
        client: Redis = Redis.from_url(Settings.read().redis_url)
        return client


def build(on_event: Any) -> Residency:
    """Return a residency of sleeping engines."""
    return Residency({stage: Sleeper(stage) for stage in STAGES}, CpuMemory(), on_event=on_event)


if __name__ == "__main__":
    settings = Settings.read()
    sys.exit(
        start(
            settings,
            None,
            sys.argv[1],
            register=lambda app: tasks.register(app, settings, build),
            log_level="WARNING",
        )
    )
