"""A worker with sleeping engines: `python -m golem_chain.benchmarks.fleet.sleeper NAME`, with Redis in GOLEM_REDIS_URL.

It holds one model at a time, and pushes its loads and batches to the Redis list `LOG`.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery
from redis import Redis

from golem_chain.benchmarks.fleet.costs import SLEEPING
from golem_chain.broker.queues import STAGES, task_name
from golem_chain.shared.settings import Settings
from golem_chain.workers.child.batch_task import BatchTask, Call
from golem_chain.workers.parent.worker import start

LOG = "bench:log"
_held: list[str] = []
_client: list[Redis] = []  # created in the child


class Sleeper(BatchTask):
    """A stage that sleeps for its cost."""

    abstract = True

    def run_batch(self, calls: Sequence[Call]) -> list[Any | Exception]:
        """Sleep for a load if another model is held, then for the batch."""
        if not _client:
            _client.append(Redis.from_url(Settings.read().redis_url))
        cost, began = SLEEPING[self.stage], time.time()
        if loads := _held != [self.stage]:
            time.sleep(cost.load_s)
            _held[:] = [self.stage]
        time.sleep(cost.seconds(len(calls)))
        told = {"box": sys.argv[1], "stage": self.stage, "jobs": [call.args[0] for call in calls]}
        _client[0].rpush(LOG, json.dumps({**told, "load": loads, "began": began, "ended": time.time()}))
        return [call.args[0] for call in calls]

    def load_costs(self) -> dict[str, float]:
        """Return the costs that a residency would have measured."""
        return {self.stage: SLEEPING[self.stage].load_s}


def register(app: Celery) -> None:
    """Register the three tasks."""
    for stage in STAGES:
        kind = type(stage.title(), (Sleeper,), {"name": task_name(stage), "stage": stage, "__module__": __name__})
        app.register_task(kind())


if __name__ == "__main__":
    sys.exit(start(Settings.read(), None, sys.argv[1], register=register, log_level="WARNING"))
