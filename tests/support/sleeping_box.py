"""A worker with sleeping engines, for tests with several boxes:
`python -m tests.support.sleeping_box URL NAME [KEY=VALUE…]`.

The audio of a job scripts its stages: `bad` fails alone, `poison` kills its process in the second stage, `boom` raises
for the whole batch, `heavy` fails the whole call before any of its messages begins, `slow` sleeps, `retry` fails twice
with a retryable error. All events are pushed to the Redis list `log`.
"""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import BadAudio, GolemError, OutOfMemory
from golem_chain.shared.records import Intent, Outcome, Reply, Transcript
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import batch, steps, tasks
from golem_chain.workers.devices.memory import CpuMemory
from golem_chain.workers.parent import strategy
from golem_chain.workers.parent.worker import start
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.stub import StubEngine

LOAD_S = float(os.environ.get("LOAD_S", "0"))
BATCH_S = float(os.environ.get("BATCH_S", "0.02"))
SLOW_S = float(os.environ.get("SLOW_S", "3"))
STREAM_S = float(os.environ.get("STREAM_S", "0"))  # above 0: the Oracle streams
SYSTEM = os.environ.get("SYSTEM", "")
_log: list[Any] = []


def log(**event: Any) -> None:
    if not _log or _log[0] != os.getpid():
        patience = Retry(ConstantBackoff(0.1), 300)  # the log survives a restart of the server
        _log[:] = [os.getpid(), Redis.from_url(sys.argv[1], retry=patience)]
    _log[1].rpush("log", json.dumps({**event, "system": SYSTEM, "t": time.time(), "pid": os.getpid()}))


@dataclass
class Sleeper(StubEngine):
    def load(self) -> None:
        if not self.loaded:
            time.sleep(LOAD_S)
            log(event="load", stage=self.name)
        super().load()

    def prepare(self, ask: Any) -> object:
        return Ready(ask.data.decode() if self.name == "scribe" else ask.text)

    def run(self, batch: Sequence[Any]) -> list[object]:
        super().run(batch)
        log(event="batch", stage=self.name, jobs=list(batch))
        second = self.name == "interpreter"
        if second and any(job.startswith("poison") for job in batch):
            os.kill(os.getpid(), signal.SIGKILL)
        if second and any(job.startswith("boom") for job in batch):
            raise RuntimeError("whose fault is it?")
        time.sleep(SLOW_S if second and any(job.startswith("slow") for job in batch) else BATCH_S)
        return [self.one(job) for job in batch]

    def one(self, job: str) -> object:
        log(event="end", stage=self.name, job=job)
        if self.name == "interpreter":
            if job.startswith("bad"):
                return BadAudio(f"{job} is bad.")
            if job.startswith("retry") and _log[1].incr(f"tries:{job}") < 3:
                return OutOfMemory("once more")
            return Intent(label="any", score=1.0, method="cosine")
        return Transcript(text=job) if self.name == "scribe" else Reply(text=job, prompt=job, seed=0, new_tokens=1)


@dataclass
class Streamer(Sleeper):
    """Answers the oldest of its rows every STREAM_S seconds."""

    slots: int = 1

    def run_each(
        self, batch: Sequence[Any], give: Callable[[int, Any], None], more: Callable[[int], Sequence[Any]]
    ) -> None:
        rows, n = list(batch), 0
        log(event="batch", stage=self.name, jobs=rows)
        while n < len(rows):
            time.sleep(STREAM_S)
            give(n, self.one(rows[n]))
            n += 1
            if added := list(more(self.slots - len(rows) + n)):
                log(event="begun", stage=self.name, jobs=added)
                rows += added


def register(app: Celery, settings: Settings) -> None:
    def build(on_event: Any) -> Residency:
        engines = {stage: Sleeper(stage) for stage in STAGES}
        if STREAM_S:
            engines["oracle"] = Streamer("oracle")
        return Residency(engines, CpuMemory(), on_event=on_event)

    tasks.register(app, settings, build)


def run_together(task: str, calls: Sequence[batch.Call]) -> batch.BatchReport:
    if task == "golem.interpreter" and any(call.job.startswith("heavy") for call in calls):
        raise MemoryError
    return batch.run_together(task, calls)


def log_failed(outcome: Outcome) -> None:
    if outcome.error:
        log(event="failed", job=outcome.job, error=outcome.error.code, text=outcome.error.message)


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # die with the test process
    url, name, *given = sys.argv[1:]
    options: dict[str, Any] = dict(pair.split("=", 1) for pair in given)
    queues, models = options.pop("queues", None), options.pop("models", None)
    vars(steps)["BACKOFF_S"] = 0.05
    vars(strategy)["run_together"] = run_together
    Outcomes.log = staticmethod(log_failed)  # type: ignore[method-assign]
    try:
        settings = Settings.read(redis_url=url, **options)
        sys.exit(
            start(
                settings,
                queues.split(",") if queues else None,
                name,
                register=lambda app: register(app, settings),
                checkpoints={
                    stage: {"id": models, "fingerprint": f"{models}-hash", "precision": "float32"} for stage in STAGES
                }
                if models
                else None,
                log_level=os.environ.get("LOG_LEVEL", "WARNING"),
            )
        )
    except GolemError as exc:
        sys.exit(exc.message)  # to stderr, with exit code 1
