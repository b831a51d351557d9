"""Runs the chain as a user does, with an embedded server and one worker, and measures it from outside."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded
from golem_chain.broker.local.system import private_system
from golem_chain.broker.monitoring import timeline
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import JobOptions, LabelSet, OracleParams, Outcome
from golem_chain.shared.settings import Settings

START_S = 120.0  # for the worker to start
JOB_S = 120.0  # per job, on the slowest machine


@dataclass
class Run:
    """The times of a number of jobs; wall time runs from the first submit to the last Outcome, seconds."""

    jobs: int
    wall_s: float = 0.0
    first_s: float = 0.0  # until the first Outcome
    submit_s: float = 0.0  # until the last job was submitted
    compute_s: float = 0.0
    load_s: float = 0.0  # loads and unloads that batches waited for
    stages_s: dict[str, float] = field(default_factory=dict)  # compute
    batches: dict[str, list[int]] = field(default_factory=dict)  # sizes
    loads: int = 0
    timed: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # each batch: its size, compute seconds
    loads_s: dict[str, list[float]] = field(default_factory=dict)  # each load
    weights_bytes: dict[str, int] = field(default_factory=dict)  # of the models that were loaded
    models: dict[str, str] = field(default_factory=dict)  # checkpoint and precision of each of them
    cpu_s: float = 0.0  # of the worker's processes
    new_tokens: int = 0  # of all replies
    peak_bytes: int = 0  # highest resident set of the worker's child
    words: dict[str, str] = field(default_factory=dict)
    replies: dict[str, str] = field(default_factory=dict)

    @property
    def overhead_s(self) -> float:
        """Time per job that is neither compute nor load: broker, scheduling, batching, and waiting for these."""
        return (self.wall_s - self.compute_s - self.load_s) / self.jobs

    @property
    def efficiency(self) -> float:
        """Compute time ÷ wall time."""
        return self.compute_s / self.wall_s

    @property
    def jobs_per_minute(self) -> float:
        """Throughput of the run."""
        return 60 * self.jobs / self.wall_s


class System:
    """A worker under measurement."""

    def __init__(self, settings: Settings, worker: psutil.Process, check: Callable[[], None]) -> None:
        self.settings, self.worker = settings, worker
        self.check = check  # raises GolemError once the worker has ended

    def run(self, clips: Sequence[Path], jobs: int, labels: LabelSet, tokens: int) -> Run:
        """Submit `jobs` jobs of all stages, cycling through the clips, and wait: see `backlog`. A clip has the same
        reply each time, so that runs are as long as each other."""
        return self.backlog(clips, jobs, JobOptions(labels=labels, oracle=OracleParams(max_new_tokens=tokens, seed=7)))

    def backlog(self, clips: Sequence[Path], jobs: int, options: JobOptions) -> Run:
        """Submit `jobs` jobs, cycling through the clips, and wait. Raises GolemError if one does not end as `done`."""
        found = Run(jobs)
        with Pipeline(self.settings) as pipeline, redis.Redis.from_url(self.settings.redis_url) as client:
            cpu_s, since, started = self.cpu_s(), time.time(), time.perf_counter()
            ids = [pipeline.submit_with(clips[n % len(clips)], options) for n in range(jobs)]
            found.submit_s = time.perf_counter() - started
            for outcome in self._outcomes(pipeline, ids, started):
                found.wall_s = time.perf_counter() - started
                found.first_s = found.first_s or found.wall_s
                _note(found, outcome)
            found.cpu_s = self.cpu_s() - cpu_s
            _sum(found, timeline.read(client, since, Keys(self.settings.prefix)))
        found.peak_bytes = self.peak_bytes()
        return found

    def _outcomes(self, pipeline: Pipeline, ids: Sequence[str], started: float) -> Iterator[Outcome]:
        left = set(ids)
        while left:
            for outcome in pipeline.wait(tuple(left), timeout_s=5.0):
                left.discard(outcome.job)
                if outcome.state != "done":
                    raise GolemError(f"{outcome.name}: {outcome.error and outcome.error.message}")
                yield outcome
            self.check()
            if time.perf_counter() - started > JOB_S * len(ids):
                raise GolemError(f"{len(left)} jobs did not end.")

    def cpu_s(self) -> float:
        """Return the CPU time of the worker's processes that live, user and system, seconds."""
        times = [one.cpu_times() for one in (self.worker, *self.worker.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))

    def peak_bytes(self) -> int:
        """Return the peak resident set of the child that holds the models (Linux), bytes."""
        return max((_high_water(child.pid) for child in self.worker.children(recursive=True)), default=0)


@contextmanager
def system(
    settings: Settings, clips: Sequence[Path], machine: Mapping[str, str] | None = None, **more: str
) -> Iterator[System]:
    """Start an embedded server and a worker with these settings (`more`: additional ones); yield them when ready.
    `machine`: other environment variables of the worker, such as a mask of the processor's instructions. A worker that
    is measured makes no proofs meanwhile."""
    chosen = {f"GOLEM_{stage.upper()}_MODEL": settings.model_of(stage) for stage in STAGES}
    env = {key: value for key, value in chosen.items() if value} | {f"GOLEM_{k.upper()}": v for k, v in more.items()}
    env |= {
        "GOLEM_STORE": str(settings.store),
        "GOLEM_MODELS": settings.models,
        "GOLEM_PROVE": "off",
        **(machine or {}),
    }
    # No cache of texts: the few clips repeat.
    with _environment(env | {"GOLEM_INTERPRETER_CACHE": "0"}), private_system([str(clip) for clip in clips]) as held:
        end = time.monotonic() + START_S
        with redis.Redis.from_url(held.settings.redis_url) as client:
            names = Keys(held.settings.prefix).box("*")
            while not any(client.hexists(box, "queues") for box in client.scan_iter(names)):
                held.check()
                if time.monotonic() > end:
                    raise GolemError("The worker does not start: see GOLEM_DEBUG=1.")
                time.sleep(0.05)
        time.sleep(1.0)  # for its pool
        yield System(held.settings, psutil.Process(held.worker.pid), held.check)


def queued_bytes(settings: Settings, clips: Sequence[Path], labels: LabelSet, jobs: int) -> float:
    """Return the Redis memory per queued job without its audio, bytes, measured on a server without workers."""
    with embedded.start() as server:
        roots = tuple({clip.resolve().parent for clip in clips})
        asked = settings.model_copy(update={"redis_url": server.url, "audio_root": roots})
        with Pipeline(asked) as pipeline, redis.Redis.from_url(server.url) as client:
            pipeline.submit(clips[0], labels=labels)
            before = _used(client)
            for n in range(jobs):
                pipeline.submit(clips[n % len(clips)], labels=labels)
            return (_used(client) - before) / jobs


def _used(client: Any) -> int:
    return int(client.info("memory")["used_memory_dataset"])


def _note(found: Run, outcome: Outcome) -> None:
    found.words[outcome.name] = outcome.transcript.text if outcome.transcript else ""
    found.replies[outcome.job] = outcome.reply.text if outcome.reply else ""
    found.new_tokens += outcome.reply.new_tokens if outcome.reply else 0


def _sum(found: Run, events: Sequence[Mapping[str, Any]]) -> None:
    """Add the worker's events (batches and loads) to a run."""
    for event in events:
        if event["kind"] == "batch":
            stage = event["stage"]
            found.batches.setdefault(stage, []).append(event["size"])
            found.stages_s[stage] = found.stages_s.get(stage, 0.0) + event["compute_s"]
            found.timed.setdefault(stage, []).append((event["size"], event["compute_s"]))
            found.load_s += event["load_s"]
        if event["kind"] == "load":
            found.loads += 1
            found.loads_s.setdefault(event["stage"], []).append(event["seconds"])
            found.weights_bytes[event["stage"]] = event["weights_bytes"]
            found.models[event["stage"]] = event["model"].split("/")[-1]
    found.compute_s = sum(found.stages_s.values())


def _high_water(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
