"""`golem bench many`: submitting, waiting for and looking after many jobs, on a server without workers.

A group of ten and one of all the jobs that are waited for are asked the same, in turn, so that a cost that grows with
the number of jobs is seen within one run.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import redis

from golem_chain.benchmarks.clock import hardware
from golem_chain.benchmarks.producer.spending import Spent, median, spending
from golem_chain.benchmarks.report import Say, Table, Target, target_table
from golem_chain.broker.local import embedded
from golem_chain.broker.pipeline import Group, Pipeline
from golem_chain.shared.records import JobOptions
from golem_chain.shared.settings import Settings

FILES = 100  # different ones, in turn; a producer does not read files that all boxes mount
JOBS_PER_S_LEAST = 2000
CPU_MOST = 0.05  # of a core
TICK_S = 1.0
SMALL = 10  # jobs of the small group
ASKED = 30  # how often each group is asked
#: What a large group may take, as a multiple of a small one, beyond a difference that no one notices.
SAME, SAME_S = 1.5, 0.001


@dataclass
class Findings:
    """All measurements, as written to the JSON file."""

    hardware: str
    jobs: int  # of each submit
    waiting: int  # jobs waited for
    submits: dict[str, list[Spent]] = field(default_factory=dict)  # by way
    first_look: Spent | None = None  # of a wait
    wait: Spent | None = None  # while nothing ends
    groups: dict[str, dict[int, Spent]] = field(default_factory=dict)  # medians, by question and size of the group


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
                for way, submit in WAYS.items():
                    client.flushall()
                    with spending(client) as spent:
                        submit(pipeline, islice(cycle(files), jobs))
                    found.submits.setdefault(way, []).append(spent)
            client.flushall()
            say(f"submitting {waiting} jobs to wait for")
            ids = _together(pipeline, islice(cycle(files), waiting), group=str(waiting))
            few = _together(pipeline, islice(cycle(files), SMALL), group=str(SMALL))
            say(f"waiting for {waiting} jobs, {seconds:g} s")
            found.first_look, found.wait = _waited(pipeline, client, ids, seconds)
            say(f"asking groups of {SMALL} and {waiting} jobs")
            found.groups = _asked(pipeline, client, {SMALL: few, waiting: ids}, seconds)
    return found


def _files(folder: Path) -> list[Path]:
    files = [folder / f"{n:03}.wav" for n in range(FILES)]
    for file in files:
        file.write_bytes(bytes(1024))
    return files


def _one_by_one(pipeline: Pipeline, files: Iterable[Path]) -> None:
    for file in files:
        pipeline.submit(file)


def _together(pipeline: Pipeline, files: Iterable[Path], group: str | None = None) -> list[str]:
    """Submit jobs and return their ids. Raises GolemError if one was not submitted."""
    done = pipeline.submit_many(files, JobOptions(group=group))
    if errors := [one.error for one in done if one.error]:
        raise errors[0]
    return [one.id for one in done]


WAYS: Mapping[str, Callable[[Pipeline, Iterable[Path]], object]] = {"one by one": _one_by_one, "together": _together}


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


def _asked(
    pipeline: Pipeline, client: redis.Redis, groups: Mapping[int, Sequence[str]], seconds: float
) -> dict[str, dict[int, Spent]]:
    """Return what each question costs by the size of the group. The first job of each group has ended."""
    for ids in groups.values():
        pipeline.cancel(ids[0])
    idle_s = seconds / 5
    questions: dict[str, tuple[int, Callable[[Group], object]]] = {
        "status and progress": (ASKED, lambda group: group.status()),
        "wait until the next end": (ASKED, lambda group: next(group.wait())),
        f"wait {idle_s:g} s in which nothing ends": (1, lambda group: [*group.wait(_last(group), idle_s)]),
        "cancel": (ASKED, lambda group: group.cancel()),
    }
    found: dict[str, dict[int, Spent]] = {}
    for question, (often, ask) in questions.items():
        seen: dict[int, list[Spent]] = {size: [] for size in groups}
        for _ in range(often):
            for size in groups:
                with spending(client) as spent:
                    ask(pipeline.group(str(size)))
                seen[size].append(spent)
        found[question] = {size: median(all_) for size, all_ in seen.items()}
    return found


def _last(group: Group) -> str:
    return group.ends()[-1].cursor


def _rate(found: Findings, way: str) -> float:
    """Return the jobs per second of a way to submit, the median of its turns."""
    return found.jobs / statistics.median(one.wall_s for one in found.submits[way])


def same(small: Spent, large: Spent) -> bool:
    """Return whether a large group takes as many commands as a small one, and about as long. A timed wait may read once
    more."""
    return large.commands <= small.commands + 1 and large.wall_s <= max(SAME * small.wall_s, small.wall_s + SAME_S)


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
    if found.groups:
        few, many = ([costs[size] for costs in found.groups.values()] for size in (SMALL, found.waiting))
        dearer = [question for question, a, b in zip(found.groups, few, many, strict=True) if not same(a, b)]
        yield Target(
            f"a group of {found.waiting:,} jobs costs what one of {SMALL} does", "all", ", ".join(dearer) or "all",
            not dearer,
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
    if found.groups:
        yield _groups(found)
    yield target_table(targets(found))


def _groups(found: Findings) -> Table:
    sizes = (SMALL, found.waiting)
    heads = [f"{what}, {size:,} jobs" for what in ("commands", "ms") for size in sizes]
    rows = []
    for question, costs in found.groups.items():
        commands = [f"{costs[size].commands}" for size in sizes]
        rows.append((question, *commands, *(f"{1000 * costs[size].wall_s:.2f}" for size in sizes)))
    return Table(f"Groups (medians of {ASKED} times, in turn)", ("question", *heads), rows)
