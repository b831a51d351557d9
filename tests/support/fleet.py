"""A server, workers with sleeping engines in real processes, and their event log, for tests with several boxes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from redis import Redis

from golem_chain.broker.app import make_app
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.broker.submission import Asked
from golem_chain.broker.transport import message
from golem_chain.shared.records import CHAIN, JobOptions, Transcript
from golem_chain.shared.settings import Settings
from tests.support.messages import lane_keys
from tests.support.paths import python_path

HERE = Path(__file__).parent
PATIENCE_S = 20.0  # generous, but below the lease of 25 s, so that recovery by an expired lease is too late


class Fleet:
    """A server's URL, the workers started on it, and the folder of their logs."""

    def __init__(self, url: str, folder: Path, prefix: str = "golem") -> None:
        self.url, self.prefix, self.keys = url, prefix, Keys(prefix)
        self.redis: Any = Redis.from_url(url)  # its types leave open whether an answer is bytes or text
        self.redis.flushall()
        settings = Settings.read(redis_url=url, prefix=prefix)
        self.app, self.pipeline = make_app(settings), Pipeline(settings)
        self.folder = folder
        self.boxes: list[subprocess.Popen[str]] = []

    def box(self, name: str = "box", **given: Any) -> subprocess.Popen[str]:
        """Start a worker. Lower-case options are settings, upper-case ones the engines' sleeps."""
        env = {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "SYSTEM": self.prefix}
        env |= {key: str(value) for key, value in given.items() if key.isupper()}
        settings = [f"prefix={self.prefix}"]
        settings += [f"{key}={value}" for key, value in given.items() if not key.isupper()]
        with (self.folder / f"{len(self.boxes)}.log").open("w") as said:
            box = subprocess.Popen(
                [sys.executable, "-m", "tests.support.sleeping_box", self.url, name, *settings],
                env=env,
                stderr=said,
                text=True,
                start_new_session=True,
            )
        self.boxes.append(box)
        return box

    def submit(self, jobs: Iterable[str]) -> None:
        """Submit the jobs. Their ids have no spaces."""
        for job in jobs:
            self.pipeline.submit(job.encode(), id=_id(job))

    def submit_heard(self, jobs: Iterable[str]) -> None:
        """Submit jobs that the Scribe has finished: they begin at the Interpreter."""
        for job in jobs:
            record, _ = self.pipeline._submitter.describe(Asked(job.encode()), JobOptions(), _id(job), None)
            self.pipeline._jobs.register(record)
            stored = {"transcript": Transcript(text=job).model_dump_json(), "queued": "1"}
            self.redis.hset(self.keys.job(_id(job)), mapping=stored)
            self.redis.lpush(self.keys.queue("interpreter"), message.text("interpreter", _id(job)))
            self.redis.zadd(self.keys.wake("interpreter"), {"work": 0})

    def state(self, job: str, stage: str = STAGES[-1]) -> str | None:
        """Return how a stage of the job ended."""
        outcome = self.pipeline._outcomes.get(_id(job))
        answered = self.redis.hexists(self.keys.job(_id(job)), CHAIN[stage].field)
        if answered or (outcome and outcome.state == "done"):
            return "SUCCESS"
        return "FAILURE" if outcome else None

    def log(self, event: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Return the events of the boxes."""
        events = [json.loads(line) for line in self.redis.lrange("log", 0, -1)]
        return [
            e
            for e in events
            if (event is None or e["event"] == event) and all(e.get(key) == value for key, value in fields.items())
        ]

    def until(self, true: Callable[[], Any], within_s: float = PATIENCE_S) -> float:
        """Wait for a condition and return the elapsed seconds."""
        start = time.monotonic()
        while not true():
            assert time.monotonic() - start < within_s, (
                f"not within {within_s} s; dead: {self.redis.lrange(self.keys.dead, 0, -1)}; "
                f"events: {self.log()[-20:]}; log: {[self.said(box)[-2000:] for box in self.boxes]}"
            )
            time.sleep(0.01)
        return time.monotonic() - start

    def done(self, jobs: Iterable[str], within_s: float = PATIENCE_S) -> float:
        """Wait until all jobs have succeeded."""
        left = list(jobs)
        return self.until(lambda: all(self.state(job) == "SUCCESS" for job in left), within_s)

    def settled(self) -> None:
        """Wait until no message is in hand."""
        keys = self.keys
        books = (keys.unacked, keys.unacked_index, keys.holders, keys.deliveries, keys.crashes, keys.dying)
        self.until(lambda: not self.redis.exists(*books, *lane_keys(keys=keys)))

    def said(self, box: subprocess.Popen[str]) -> str:
        """Return a box's log."""
        return (self.folder / f"{self.boxes.index(box)}.log").read_text()

    def close(self) -> None:
        for box in self.boxes:
            if box.poll() is None:
                os.killpg(box.pid, signal.SIGKILL)
            box.wait()
        self.redis.close()
        self.pipeline.close()
        self.app.close()


def _id(job: str) -> str:
    return job.replace(" ", "-")


def descendants(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    """Return whether a process is running; a zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
