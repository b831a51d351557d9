"""`golem bench interactive`: spoken commands on a box that works through bulk recordings, against an idle box.

One worker takes turns in one run, so that drift affects all sides equally:

    round 1    ▏ ▏ ▏ ▏   ████████████   ██▏███▏███▏██
    round 2    ▏ ▏ ▏ ▏   ████████████   ██▏███▏███▏██    … until enough commands were sent
               idle      bulk alone     bulk with a command every `every_s` seconds

Rounds repeat the same bulk set: recordings of 5 to 60 s and a long one. Together with commands it takes longer by their
own compute and loads, and by what they cost beyond that, such as the reloads of the models that they replaced.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from golem_chain.benchmarks.chain import run as chain
from golem_chain.benchmarks.chain.clients import Client, Sending, moments
from golem_chain.benchmarks.chain.recordings import lengths, nearest, spoken, write_joined
from golem_chain.benchmarks.chain.run import System
from golem_chain.benchmarks.clock import hardware
from golem_chain.benchmarks.report import Say, Table, Target, target_table
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.settings import Settings
from golem_chain.workers.store.sources.pull import pull

COMMAND_S = 2.0  # length of a command
COMMANDS = 10  # different ones, in turn
SHORTEST_S, LONGEST_S = 5.0, 60.0  # of the bulk recordings but for the long one
FACTOR, MARGIN_S = 2.0, 1.0  # the target: the idle time twice, and a second
LOSS_MOST = 0.10


@dataclass(frozen=True)
class Plan:
    """The size of a run."""

    commands: int = 50  # at least, on the busy box
    idle: int = 8  # commands on the idle box, in each round
    every_s: float = 20.0
    idle_every_s: float = 2.0
    clips: int = 100  # bulk recordings of 5 to 60 s in a set
    long_s: float = 3600.0  # length of the long one


QUICK = Plan(commands=6, idle=5, every_s=10.0, idle_every_s=0.5, clips=24, long_s=300.0)


@dataclass(frozen=True)
class Round:
    """The times of the bulk set alone and together with commands, seconds."""

    alone_s: float
    together_s: float
    commands: int  # that ended before the set did
    own_s: float  # their share of the compute and loads of their batches
    alone_cpu_s: float = 0.0  # of the worker
    together_cpu_s: float = 0.0


@dataclass
class Findings:
    """All measurements, as written to the JSON file."""

    hardware: str
    recordings: str
    plan: Plan
    bulk_audio_s: float = 0.0  # of one set
    idle_s: list[float] = field(default_factory=list)
    busy_s: list[float] = field(default_factory=list)
    idle_cpu_s: float = 0.0  # of the worker, for all commands on the idle box
    rounds: list[Round] = field(default_factory=list)

    @property
    def bound_s(self) -> float:
        """What a command may take on the busy box: the median on the idle one twice, and a second."""
        return FACTOR * statistics.median(self.idle_s) + MARGIN_S

    @property
    def loss(self) -> float:
        """The share of the bulk's throughput that is lost beyond the commands' own compute and loads."""
        return loss([(one.alone_s, one.together_s, one.own_s) for one in self.rounds])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed (nearest rank)."""
    return sorted(values)[max(ceil(share * len(values)), 1) - 1]


def loss(rounds: Sequence[tuple[float, float, float]]) -> float:
    """Return the lost share of throughput from the times of the same work alone, together with other work, and the
    other work's own (seconds): 0 if the work takes its old time in what is left."""
    alone, together, others = (float(sum(column)) for column in zip(*rounds, strict=True))
    return 1.0 - alone / (together - others)


def measure(settings: Settings, plan: Plan, say: Say) -> Findings:
    """Measure one worker. Raises GolemError if a job does not end as `done`."""
    rows, told = spoken()
    pull(settings)
    with tempfile.TemporaryDirectory(prefix="golem-bench-") as folder:
        wanted = [plan.long_s, *lengths(plan.clips, SHORTEST_S, LONGEST_S)]
        say(f"writing {len(wanted)} recordings, {sum(wanted) / 60:.0f} minutes together")
        bulk, commands = write_joined(rows, wanted, Path(folder)), nearest(rows, COMMAND_S, COMMANDS)
        found = Findings(hardware(), told, plan, sum(wanted))
        with chain.system(settings, bulk) as system, Pipeline(system.settings) as pipeline:
            _measure(found, system, Client(system, pipeline, [path.read_bytes() for path in commands]), bulk, say)
    return found


def _measure(found: Findings, system: System, client: Client, bulk: Sequence[Path], say: Say) -> None:
    plan = found.plan
    for _ in range(2):
        client.command()  # warm up
    while len(found.busy_s) < plan.commands:
        number = len(found.rounds) + 1
        before_s = system.cpu_s()
        for _ in range(plan.idle):
            time.sleep(plan.idle_every_s)
            found.idle_s.append(client.command().wall_s)
        alone_from_s = system.cpu_s()
        found.idle_cpu_s += alone_from_s - before_s
        say(f"round {number}: a command on the idle box took {statistics.median(found.idle_s):.2f} s")
        alone_s = client.bulk(bulk)
        say(f"round {number}: bulk alone took {alone_s:.0f} s")
        together_from_s = system.cpu_s()
        with Sending(client, moments(number, plan.every_s)) as sending:
            started = time.perf_counter()
            together_s = client.bulk(bulk)
            cpu_s = system.cpu_s() - together_from_s
        answered = sending.answered()
        during = [one for one in answered if one.ended_at <= started + together_s]
        own_s = sum(one.own_s for one in during)
        found.busy_s += [one.wall_s for one in answered]
        found.rounds.append(Round(alone_s, together_s, len(during), own_s, together_from_s - alone_from_s, cpu_s))
        say(f"round {number}: with {len(answered)} commands {together_s:.0f} s; {len(found.busy_s)} commands so far")


def targets(found: Findings) -> Iterator[Target]:
    """Yield what was to be reached."""
    late = percentile(found.busy_s, 0.95)
    yield Target(
        f"command on a busy box, 95th percentile of {len(found.busy_s)}, s: twice the idle median and {MARGIN_S:g} s",
        f"≤ {found.bound_s:.2f}", f"{late:.2f}", late <= found.bound_s,
    )  # fmt: skip
    yield Target(
        "bulk throughput lost beyond the commands' own compute, %",
        f"≤ {100 * LOSS_MOST:.0f}", f"{100 * found.loss:.1f}", found.loss <= LOSS_MOST,
    )  # fmt: skip


def tables(found: Findings) -> Iterator[Table]:
    """Yield all tables."""
    rows = []
    for box, times in (("idle", found.idle_s), ("busy with bulk recordings", found.busy_s)):
        shown = (statistics.median(times), percentile(times, 0.95), max(times))
        rows.append((box, len(times), *(f"{one:.2f}" for one in shown)))
    heads = ("box", "commands", "median", "95 %", "longest")
    yield Table("A spoken command of 2 s through three stages, s", heads, rows)
    yield _bulk(found)
    yield target_table(targets(found))


def _bulk(found: Findings) -> Table:
    plan, audio_s = found.plan, found.bulk_audio_s * len(found.rounds)
    sums = {part: sum(getattr(one, part) for one in found.rounds) for part in Round.__dataclass_fields__}
    together_s, together_cpu_s = sums["together_s"], sums["together_cpu_s"]
    left_s = together_s - sums["own_s"]
    left_cpu_s = together_cpu_s - sums["commands"] * found.idle_cpu_s / len(found.idle_s)
    ways = {
        "alone": (sums["alone_s"], sums["alone_cpu_s"]),
        "with commands": (together_s, together_cpu_s),
        "with commands, without their part": (left_s, left_cpu_s),
    }
    return Table(
        f"Bulk: {plan.clips} recordings of {SHORTEST_S:.0f} to {LONGEST_S:.0f} s and one of {plan.long_s / 60:.0f} "
        f"minutes, {len(found.rounds)} times alone and with a command every {plan.every_s:g} s",
        ("bulk", "wall s", "audio s per s", "worker's CPU s"),
        [(way, f"{wall:.0f}", f"{audio_s / wall:.1f}", f"{cpu:.0f}") for way, (wall, cpu) in ways.items()],
    )
