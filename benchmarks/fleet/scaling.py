"""`golem bench fleet`: simulates 1 to 1,000 boxes, checks 1, 2 and 4 against real workers, writes docs/scaling.md."""

from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any, get_args

from golem_chain.benchmarks.fleet.arrivals import Pattern, arrivals
from golem_chain.benchmarks.fleet.boxes import run as run_boxes
from golem_chain.benchmarks.fleet.costs import SLEEPING, Costs, read
from golem_chain.benchmarks.fleet.simulation import POLICIES, Fleet, Result
from golem_chain.benchmarks.report import Table, into_docs
from golem_chain.broker.cli.operations.timeline_plot import COLOURS
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.view import Prefer
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.json_object import JsonObject

SEED = 20260729
BATCH = 8
#: Offered load, as a share of the capacity without switches.
LOAD = 0.7
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
PREFERENCES: tuple[Prefer, ...] = get_args(Prefer)
#: (boxes, seconds) of the simulated fleets; latencies are a few seconds.
MEASURED_FLEETS = ((1, 1800.0), (4, 1800.0), (10, 1800.0), (100, 400.0), (1000, 90.0))
SLEEPING_FLEETS = ((1, 120.0), (4, 120.0), (10, 120.0), (100, 45.0))
#: (workers, jobs per second, seconds) of the real runs.
REAL = ((1, 4.0, 20.0), (2, 12.0, 20.0), (4, 33.0, 20.0))
WARM_S = 5.0
#: Interactive jobs among a backlog: their rate as a share of the capacity, and the boxes.
HURRIED, LANE_FLEETS = 0.05, (1, 4, 10)
#: Bulk jobs of the backlog for each box, by cost: both take minutes.
BACKLOG = {"sleeping": 4000, "measured": 400}


@dataclass(frozen=True)
class Case:
    """One simulated run."""

    boxes: int
    pattern: Pattern
    policy: str
    first: int  # job that counts for latencies
    result: Result

    @property
    def switches(self) -> float:
        """Switches per 100 jobs."""
        return 100 * len(self.result.loads) / len(self.result.latencies)

    def row(self) -> tuple[Any, ...]:
        """Return the row of a table."""
        latencies = (f"{self.result.latency_s(share, self.first):.2f}" for share in (0.5, 0.95, 0.99))
        shown = (f"{self.switches:.1f}", f"{self.result.utilisation:.0%}", *latencies)
        return (self.boxes, self.pattern, self.policy, *shown)


HEADS = ("boxes", "arrivals", "policy", "switches per 100 jobs", "utilisation", "p50 s", "p95 s", "p99 s")


def memories(boxes: int, costs: Costs) -> list[float]:
    """Return the memory of each box of a mixed fleet, MB: a third hold only the largest model, a third all but the
    smallest, a third all models."""
    sizes = sorted(cost.megabytes for cost in costs.values())
    return list(islice(cycle((sizes[-1], sum(sizes[1:]), sum(sizes))), boxes))


def capacity(costs: Costs) -> float:
    """Return the jobs per second of one box that takes full batches and never switches."""
    return 1 / sum(cost.seconds(BATCH) / BATCH for cost in costs.values())


def sweep(costs: Costs, fleets: Sequence[tuple[int, float]], mixed: bool, say: Callable[[str], None]) -> list[Case]:
    """Simulate every policy, pattern and fleet. Without `mixed`, each box has memory for one model."""
    cases = []
    for boxes, seconds in fleets:
        memory = memories(boxes, costs) if mixed else [max(cost.megabytes for cost in costs.values())] * boxes
        say(f"simulating {boxes} boxes")
        for pattern in PATTERNS:
            times = arrivals(pattern, LOAD * boxes * capacity(costs), seconds, SEED)
            first = bisect(times, seconds / 4)
            for policy in POLICIES:
                result = Fleet(memory, costs, policy, batch=BATCH).run(times)
                cases.append(Case(boxes, pattern, policy, first, result))
    return cases


def drained(costs: Costs) -> Table:
    """Return the times for the same backlog on more and more boxes with memory for one model."""
    jobs, rows = 4000, []
    alone: dict[Prefer, float] = {}
    for boxes in (1, 2, 4, 8, 16, 64):
        row: list[Any] = [boxes]
        for prefer in ("throughput", "balanced"):
            fleet = Fleet([max(cost.megabytes for cost in costs.values())] * boxes, costs, batch=BATCH, prefer=prefer)
            result = fleet.run([0.0] * jobs)
            alone.setdefault(prefer, result.ended_s)
            row += [f"{result.ended_s:.0f}", f"{alone[prefer] / result.ended_s:.2f}", len(result.loads)]
        rows.append(tuple(row))
    heads = [f"{prefer}: {what}" for prefer in ("throughput", "balanced") for what in ("s", "speed-up", "loads")]
    return Table(f"A backlog of {jobs} jobs, simulated", ("boxes", *heads), rows)


def lanes(costs: Mapping[str, Costs]) -> Table:
    """Return the time that interactive jobs take among a backlog of bulk, with lanes and without, and what the backlog
    pays for them. `costs`: by the names of `BACKLOG`. Each box has memory for one model."""
    rows = []
    for name, boxes in product(costs, LANE_FLEETS):
        jobs, rate = BACKLOG[name] * boxes, boxes * capacity(costs[name])
        times = [0.0] * jobs + arrivals("poisson", HURRIED * rate, LOAD * jobs / rate, SEED)
        for how, interactive in (("one for all", range(0)), ("two", range(jobs, len(times)))):
            memory = [max(cost.megabytes for cost in costs[name].values())] * boxes
            result = Fleet(memory, costs[name], batch=BATCH).run(times, interactive)
            took = (f"{result.latency_s(share, jobs):.2f}" for share in (0.5, 0.95, 0.99))
            ended = f"{max(result.latencies[:jobs]):.0f}"
            rows.append((name, boxes, how, len(times) - jobs, *took, jobs, ended, len(result.loads)))
    heads = ("costs", "boxes", "lanes", "interactive jobs", "p50 s", "p95 s", "p99 s", "bulk jobs", "all done s")
    return Table("Interactive jobs among a backlog of bulk, simulated", (*heads, "loads"), rows)


def overhead_s() -> float:
    """Measure the overhead of a worker per message on this machine, seconds."""
    jobs, cost = 100, SLEEPING[STAGES[0]]
    took = run_boxes(1, [0.0] * jobs, "throughput").ended_s
    return max(0.0, took / len(STAGES) - cost.load_s) / jobs - cost.item_s


def measured(
    workers: int, rate: float, seconds: float, pattern: str, prefer: str, message_s: float | None = None
) -> tuple[Table, JsonObject]:
    """Return a real run and its simulation; `message_s`: overhead per message, None: measure it with `overhead_s`.

    Raises BadRequest for an unknown pattern or preference.
    """
    preferred = next((known for known in PREFERENCES if known == prefer), None)
    if pattern not in PATTERNS or preferred is None:
        known = " or ".join(PATTERNS), " or ".join(PREFERENCES)
        raise BadRequest(f"Give {known[0]} as --pattern and {known[1]} as --prefer.")
    times = arrivals(pattern, rate, seconds, SEED)
    each_s = overhead_s() if message_s is None else message_s
    results = {"real": run_boxes(workers, times, prefer), "simulated": _simulated(workers, times, preferred, each_s)}
    title = f"{workers} worker{'s' * (workers > 1)}, {rate:g} jobs/s ({pattern}) for {seconds:g} s, {prefer}"
    table = Table(title, REAL_HEADS, [(name, *_real_cells(one, seconds)) for name, one in results.items()])
    shown = {"workers": workers, "rate": rate, "seconds": seconds, "pattern": pattern, "prefer": prefer}
    return table, shown | {
        name: dict(zip(REAL_HEADS[1:], _real_cells(one, seconds), strict=True)) for name, one in results.items()
    }


def _simulated(workers: int, times: Sequence[float], prefer: Prefer, message_s: float) -> Result:
    memory = [SLEEPING[STAGES[0]].megabytes] * workers
    return Fleet(memory, SLEEPING, prefer=prefer, hop_s=0, message_s=message_s).run(times)


REAL_HEADS = ("", "loads", "after warm-up", "utilisation", "mean batch", "first job s", "p50 s", "p95 s", "p99 s")


def _real_cells(one: Result, seconds: float) -> tuple[Any, ...]:
    waits = (round(one.latency_s(share), 2) for share in (0.5, 0.95, 0.99))
    warm = one.loads_after(min(WARM_S, seconds / 3))
    return len(one.loads), warm, f"{one.utilisation:.0%}", round(one.mean_batch, 1), round(one.first_s, 2), *waits


def checked(say: Callable[[str], None]) -> Iterator[Table]:
    """Yield real runs with their predictions, among them three workers for 60 s, as the target requires."""
    for workers, rate, seconds in (*REAL, (3, 25.0, 60.0)):
        say(f"running {workers} real workers for {seconds:.0f} s")
        message_s = overhead_s()  # again for each run: other programs come and go
        table = measured(workers, rate, seconds, "poisson", "balanced", message_s)[0]
        yield replace(table, title=f"{table.title}; overhead {1000 * message_s:.1f} ms per message")


def plot(cases: Sequence[Case], title: str, file: Path) -> None:
    """Plot p95 latency and switches against the number of boxes, one column per pattern."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(PATTERNS), figsize=(11, 6), sharex=True, sharey="row", layout="constrained")
    measures: Mapping[str, Callable[[Case], float]] = {
        "p95 latency, s": lambda case: case.result.latency_s(0.95, case.first),
        "switches per 100 jobs": lambda case: case.switches,
    }
    for row, (name, measure) in enumerate(measures.items()):
        for column, pattern in enumerate(PATTERNS):
            axis = axes[row][column]
            for policy, colour, mark in zip(POLICIES, COLOURS, "os^D", strict=False):
                points = [(c.boxes, measure(c)) for c in cases if (c.pattern, c.policy) == (pattern, policy)]
                axis.plot(*zip(*points, strict=True), color=colour, marker=mark, markersize=5, label=policy)
            axis.set_xscale("log")
            if row == 0:
                axis.set_yscale("log")
                axis.set_title(pattern)
            else:
                axis.set_xlabel("boxes")
            axis.grid(alpha=0.3)
        axes[row][0].set_ylabel(name)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(POLICIES))
    figure.suptitle(title)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def write(docs: Path, costs_file: Path | None, *, real: bool, say: Callable[[str], None]) -> list[Table]:
    """Run everything, write the tables into `docs` and the plots next to it, and return the tables."""
    costs, shown = read(costs_file), []
    sets = {
        "measured": (costs, MEASURED_FLEETS, True, "Stage costs as measured, mixed memory"),
        "sleeping": (SLEEPING, SLEEPING_FLEETS, False, "A switch costs as much as 7.5 jobs, one model per box"),
    }
    for name, (chosen, fleets, mixed, title) in sets.items():
        cases = sweep(chosen, fleets, mixed, say)
        picture = docs.parent / "figures" / f"scaling-{name}.png"
        plot(cases, f"{title}, load {LOAD:.0%}", picture)
        few = [case for case in cases if case.pattern == "poisson" or case.boxes == 10]
        table = Table(f"{title}, load {LOAD:.0%}", HEADS, [case.row() for case in few])
        into_docs(docs, f"fleet {name}", f"![{title}](figures/{picture.name})\n\n{table.markdown()}")
        shown.append(table)
    shown.append(drained(SLEEPING))
    into_docs(docs, "fleet drained", shown[-1].markdown())
    shown.append(lanes({"sleeping": SLEEPING, "measured": costs}))
    into_docs(docs, "fleet lanes", shown[-1].markdown())
    if real:
        tables = list(checked(say))
        into_docs(docs, "fleet checked", "\n".join(table.markdown() for table in tables))
        shown += tables
    return shown
