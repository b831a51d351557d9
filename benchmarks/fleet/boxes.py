"""Runs real workers with sleeping engines, to measure how the transport scales without compute."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from golem_chain.benchmarks.fleet.simulation import Result
from golem_chain.benchmarks.fleet.sleeper import LOG
from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded
from golem_chain.broker.local.process import die_with_parent
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import GolemError
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings

START_S = 60.0  # for the workers to start
END_S = 300.0  # for the last job


def run(workers: int, times: Sequence[float], prefer: str = "balanced") -> Result:
    """Submit a job at each of `times` (seconds from the start, ascending) to `workers` processes on an embedded server.
    Raises GolemError if a worker does not start or a job does not end."""
    with (
        tempfile.TemporaryDirectory(prefix="golem-bench-") as folder,
        embedded.start(Path(folder)) as server,
        Redis.from_url(server.url) as client,
        _fleet(server.url, workers, prefer, client, Path(folder)),
    ):
        pipeline = Pipeline(Settings.read(redis_url=server.url))
        start = time.time()
        for job, at in enumerate(times):
            time.sleep(max(0.0, start + at - time.time()))
            pipeline.submit(str(job).encode(), id=str(job))
        events = _events(client, len(times))
        pipeline.close()
    return _result(events, [start + at for at in times], start, workers)


@contextmanager
def _fleet(url: str, workers: int, prefer: str, client: Redis, folder: Path) -> Iterator[None]:
    env = os.environ | {"GOLEM_REDIS_URL": url, "GOLEM_PREFER": prefer, "OMP_NUM_THREADS": "1"}
    started = []
    try:
        with (folder / "workers.log").open("w") as log:
            for n in range(workers):
                command = [sys.executable, "-P", "-m", "golem_chain.benchmarks.fleet.sleeper", f"box{n}"]
                leash = die_with_parent(signal.SIGKILL)
                started.append(subprocess.Popen(command, env=env, stderr=log, preexec_fn=leash))
        end = time.monotonic() + START_S
        names = Keys(Settings.read().prefix).box("*")
        while sum(1 for key in client.scan_iter(names) if client.hexists(key, "queues")) < workers:
            if time.monotonic() > end or any(one.poll() is not None for one in started):
                raise GolemError(f"The workers do not start: {(folder / 'workers.log').read_text()[-500:]}")
            time.sleep(0.1)
        yield
    finally:
        for one in started:
            one.kill()
        for one in started:
            one.wait()


def _events(client: Redis, jobs: int) -> list[JsonObject]:
    end, events, done = time.monotonic() + END_S, list[JsonObject](), 0
    while done < jobs:
        if time.monotonic() > end:
            raise GolemError(f"{jobs - done} of {jobs} jobs did not end within {END_S:.0f} s.")
        time.sleep(0.1)
        new = [json.loads(line) for line in client.lrange(LOG, len(events), -1)]
        events += new
        done += sum(len(event["jobs"]) for event in new if event["stage"] == STAGES[-1])
    return events


def _result(events: Sequence[JsonObject], came: Sequence[float], start: float, workers: int) -> Result:
    done = {job: event["ended"] for event in events if event["stage"] == STAGES[-1] for job in event["jobs"]}
    last = came[-1]
    busy = sum(max(0.0, min(event["ended"], last) - event["began"]) for event in events)
    return Result(
        [done[job] - at for job, at in enumerate(came)],
        min(done.values()) - start,
        max(done.values()) - start,
        sorted(event["began"] - start for event in events if event["load"]),
        busy / (workers * (last - start)) if last > start else 1.0,
        sum(len(event["jobs"]) for event in events) / len(events),
    )
