"""A worker with sleeping engines, for tests with several boxes:
`python -m tests.support.sleeping_box URL NAME [KEY=VALUE…]`.

The job's name scripts its tasks: `bad` fails alone, `poison` kills its process in the second stage, `boom` raises for
the whole batch, `heavy` fails the whole call before any of its tasks begins, `slow` sleeps, `retry` fails twice with a
retryable error. All events are pushed to the Redis list `log`.
"""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from golem_chain.broker.queues import STAGES, task_name
from golem_chain.shared.errors import BadAudio, GolemError, OutOfMemory
from golem_chain.shared.settings import Settings
from golem_chain.workers.child.batch_task import BatchTask, Call
from golem_chain.workers.parent.worker import start

LOAD_S = float(os.environ.get("LOAD_S", "0"))
BATCH_S = float(os.environ.get("BATCH_S", "0.02"))
SLOW_S = float(os.environ.get("SLOW_S", "3"))
SYSTEM = os.environ.get("SYSTEM", "")
PARENT = os.getpid()
_held: list[str] = []
_log: list[Any] = []


def log(**event: Any) -> None:
    if not _log or _log[0] != os.getpid():
        patience = Retry(ConstantBackoff(0.1), 300)  # the log survives a restart of the server
        _log[:] = [os.getpid(), Redis.from_url(sys.argv[1], retry=patience)]
    _log[1].rpush("log", json.dumps({**event, "system": SYSTEM, "t": time.time(), "pid": os.getpid()}))


class Stage(BatchTask):
    abstract = True
    retry_backoff_s = 0.05

    def run_batch(self, calls: Sequence[Call]) -> list[Any | Exception]:
        if _held != [self.stage]:
            time.sleep(LOAD_S)
            _held[:] = [self.stage]
            log(event="load", stage=self.stage)
        jobs = [call.args[0] for call in calls]
        queued = [time.time() - (call.sent_at or 0) for call in calls]
        log(event="batch", stage=self.stage, jobs=jobs, queued=queued, ids=[call.task_id for call in calls])
        second = self.stage == "interpreter"
        if second and any(job.startswith("poison") for job in jobs):
            os.kill(os.getpid(), signal.SIGKILL)
        if second and any(job.startswith("boom") for job in jobs):
            raise RuntimeError("whose fault is it?")
        time.sleep(SLOW_S if second and any(job.startswith("slow") for job in jobs) else BATCH_S)
        return [self.one(job) for job in jobs]

    def ended(self, task_ids: Iterable[str]) -> set[str]:
        ids = list(task_ids)
        if self.stage == "interpreter" and os.getpid() != PARENT and any(one.startswith("heavy") for one in ids):
            raise MemoryError
        return super().ended(ids)

    def one(self, job: str) -> str | Exception:
        log(event="end", stage=self.stage, job=job)
        if self.stage == "interpreter" and job.startswith("bad"):
            return BadAudio(f"{job} is bad.")
        if self.stage == "interpreter" and job.startswith("retry") and _log[1].incr(f"tries:{job}") < 3:
            return OutOfMemory("once more")
        return job

    def load_costs(self) -> dict[str, float]:
        return {self.stage: LOAD_S}

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        log(event="failed", id=task_id, error=type(exc).__name__, text=str(exc))


def register(app: Celery) -> None:
    for stage in STAGES:
        kind = type(stage.title(), (Stage,), {"name": task_name(stage), "stage": stage, "__module__": __name__})
        app.register_task(kind())


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # die with the test process
    url, name, *given = sys.argv[1:]
    options: dict[str, Any] = dict(pair.split("=", 1) for pair in given)
    queues, models = options.pop("queues", None), options.pop("models", None)
    try:
        sys.exit(
            start(
                Settings.read(redis_url=url, **options),
                queues.split(",") if queues else None,
                name,
                register=register,
                checkpoints={
                    stage: {"id": models, "fingerprint": f"{models}-hash", "dtype": "float32"} for stage in STAGES
                }
                if models
                else None,
                log_level=os.environ.get("LOG_LEVEL", "WARNING"),
            )
        )
    except GolemError as exc:
        sys.exit(exc.message)  # to stderr, with exit code 1
