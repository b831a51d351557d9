"""`golem bench many`: submitting, waiting for and looking after many jobs, on a server without workers."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import redis

from golem_chain.benchmarks.clock import hardware
from golem_chain.benchmarks.producer.spending import Spent, spending
from golem_chain.benchmarks.report import Say, Table, Target, target_table
from golem_chain.broker.local import embedded
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.settings import Settings

FILES = 100  # different ones, in turn; a producer does not read files that all boxes mount
JOBS_PER_S_LEAST = 2000
CPU_MOST = 0.05  # of a core
TICK_S = 1.0


@dataclass
class Findings:
    """All measurements, as written to the JSON file."""

    hardware: str
    jobs: int  # of each submit
    waiting: int  # jobs waited for
    submits: dict[str, list[Spent]] = field(default_factory=dict)  # by way
    first_look: Spent | None = None  # of a wait
    wait: Spent | None = None  # while nothing ends


def measure(settings: Settings, jobs: int, waiting: int, seconds: float, rounds: int, say: Say) -> Findings:
    """Submit `jobs` jobs in `rounds` rounds, and wait `seconds` seconds for `waiting` jobs that do not end. Raises
    GolemError if the embedded server does not start."""
    found = Findings(hardware(), jobs, waiting)
    with tempfile.TemporaryDirectory(prefix="golem-bench-") as folder, embedded.start() as server:
        files = _files(Path(folder))
        asked = settings.model_copy(update={"redis_url": server.url, "audio_root": (Path(folder),), "redis_wait": 0})
        with Pipeline(asked) as pipeline, redis.Redis.from_url(server.url) as client:
            for turn in range(rounds):
                say(f"submitting {jobs} jobs, turn {turn + 1} of {rounds}")
                client.flushall()
                found.submits.setdefault("one by one", []).append(_one_by_one(pipeline, client, files, jobs))
            client.flushall()
            say(f"submitting {waiting} jobs to wait for")
            ids = [pipeline.submit(file) for file in islice(cycle(files), waiting)]
            say(f"waiting for {waiting} jobs, {seconds:g} s")
            found.first_look, found.wait = _waited(pipeline, client, ids, seconds)
    return found


def _files(folder: Path) -> list[Path]:
    files = [folder / f"{n:03}.wav" for n in range(FILES)]
    for file in files:
        file.write_bytes(bytes(1024))
    return files


def _one_by_one(pipeline: Pipeline, client: redis.Redis, files: Sequence[Path], jobs: int) -> Spent:
    with spending(client) as spent:
        for file in islice(cycle(files), jobs):
            pipeline.submit(file)
    return spent


def _waited(pipeline: Pipeline, client: redis.Redis, ids: Sequence[str], seconds: float) -> tuple[Spent, Spent]:
    """Return the costs of the first look at all jobs, and of the time after it, in which nothing ends."""
    ticks = pipeline.watch(ids, TICK_S)
    with spending(client) as first_look:
        next(ticks)
    with spending(client) as wait:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            next(ticks)
    return first_look, wait


def _rate(found: Findings, way: str) -> float:
    """Return the jobs per second of a way to submit, the median of its turns."""
    return found.jobs / statistics.median(one.wall_s for one in found.submits[way])


def targets(found: Findings) -> Iterator[Target]:
    """Yield what was to be reached."""
    assert found.wait
    best = max(found.submits, key=lambda way: _rate(found, way))
    rate = _rate(found, best)
    yield Target(
        f"{found.jobs:,} jobs of shared files, submitted {best}, per second",
        f"≥ {JOBS_PER_S_LEAST:,}", f"{rate:,.0f}", rate >= JOBS_PER_S_LEAST,
    )  # fmt: skip
    share = found.wait.cpu_share
    yield Target(
        f"waiting for {found.waiting:,} jobs of which none ends, % of a core",
        f"< {100 * CPU_MOST:.0f}", f"{100 * share:.1f}", share < CPU_MOST,
    )  # fmt: skip


def tables(found: Findings) -> Iterator[Table]:
    """Yield all tables."""
    assert found.wait
    assert found.first_look
    rows = []
    for way, turns in found.submits.items():
        commands = statistics.median(one.commands for one in turns) / found.jobs
        server_s = statistics.median(one.server_cpu_s for one in turns) / found.jobs
        client_s = statistics.median(one.cpu_s for one in turns) / found.jobs
        cpu = (f"{1e6 * client_s:.0f}", f"{1e6 * server_s:.0f}")
        rows.append((way, f"{_rate(found, way):,.0f}", f"{commands:.1f}", *cpu))
    heads = ("submitted", "jobs per s", "commands per job", "client CPU per job, µs", "server CPU per job, µs")
    yield Table(f"{found.jobs:,} jobs of shared files", heads, rows)
    yield Table(
        f"Waiting for {found.waiting:,} jobs of which none ends",
        ("when", "wall s", "client CPU, % of a core", "server CPU, % of a core", "commands per s"),
        [
            (when, f"{one.wall_s:.1f}", f"{100 * one.cpu_share:.1f}", f"{100 * one.server_share:.1f}",
             f"{one.commands_per_s:.0f}")
            for when, one in (("first look", found.first_look), ("then", found.wait))
        ],
    )  # fmt: skip
    yield target_table(targets(found))
