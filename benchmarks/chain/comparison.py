"""The report of `golem bench chain`: tables, targets met and missed, a plot, JSON and the docs page."""

import statistics
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from golem_chain.benchmarks.chain.performance import LABELS, TOKENS, Findings
from golem_chain.benchmarks.chain.recordings import CLIPS, named
from golem_chain.benchmarks.chain.run import Run
from golem_chain.benchmarks.report import Table, into_docs
from golem_chain.broker.cli.operations.timeline_plot import colour
from golem_chain.broker.queues import STAGES
from golem_chain.shared.json_object import JsonObject

PEERS = {
    "reload": "load, run, unload for every file and stage (transformers pipelines)",
    "resident": "all three resident, one file at a time (transformers pipelines)",
}


def tables(found: Findings) -> Iterator[Table]:
    """Yield all tables."""
    yield _ways(found)
    yield _runs(found)
    yield _lone(found)
    yield _overheads(found)
    if found.listening:
        yield _listening(found)
    yield Table("Targets", ("what", "target", "measured", ""), [*_targets(found)])


def quest(found: Findings) -> dict[str, Run]:
    """Return the runs with the quest profile's shapes."""
    return {name.removeprefix("quest shapes, "): run for name, run in found.runs.items() if name.startswith("quest")}


def _peer_s(found: Findings, way: str) -> float:
    """Return the mean time per clip of a peer's setup, seconds."""
    return float(found.peers[way]["wall_s"]) / CLIPS


def _ways(found: Findings) -> Table:
    rows: list[tuple[Any, ...]] = []
    for way, told in PEERS.items():
        one = found.peers[way]
        stages = (f"{one['stages_s'][stage] / CLIPS:.2f}" for stage in STAGES)
        loads = one["load_s"] + one["unload_s"]
        each = _peer_s(found, way)
        peak = _megabytes(one["peak_bytes"])
        rows.append((told, f"{each:.2f}", f"{loads / CLIPS:.2f}", *stages, *_times(found, each), peak))
    for name, run in quest(found).items():
        stages = (f"{run.stages_s.get(stage, 0.0) / run.jobs:.2f}" for stage in STAGES)
        each = run.wall_s / run.jobs
        loads, peak = run.load_s / run.jobs, _megabytes(run.peak_bytes)
        rows.append((f"Golem Chain, {name}", f"{each:.2f}", f"{loads:.2f}", *stages, *_times(found, each), peak))
    heads = ("setup", "s per clip", "loads, unloads", *STAGES, "× reload", "× resident", "peak MB")
    return Table(f"Three stages, {len(LABELS.labels)} labels, {TOKENS} tokens: seconds per clip", heads, rows)


def _times(found: Findings, each_s: float) -> list[str]:
    return [f"{_peer_s(found, way) / each_s:.1f}" for way in PEERS]


def _runs(found: Findings) -> Table:
    rows = []
    for name, run in found.runs.items():
        sizes = [size for batches in run.batches.values() for size in batches]
        rows.append((
            name, f"{run.wall_s:.1f}", f"{run.jobs_per_minute:.0f}", f"{run.first_s:.1f}", run.loads, len(sizes),
            f"{statistics.mean(sizes):.1f}", f"{1000 * run.overhead_s:.1f}", f"{run.efficiency:.0%}",
            _megabytes(run.peak_bytes),
        ))  # fmt: skip
    heads = ("run", "wall s", "jobs/min", "first answer s", "loads", "batches", "mean size", "overhead ms/job",
             "compute ÷ wall", "peak MB")  # fmt: skip
    return Table("Backlogs on one worker, GOLEM_RESIDENT=1", heads, rows)


def _lone(found: Findings) -> Table:
    rows: list[tuple[Any, ...]] = [
        (
            "all three resident (transformers pipelines)",
            _ms(statistics.median(found.peers["resident"]["jobs_s"])),
            "–",
            "–",
        )
    ]
    for resident in ("auto", "1"):
        measured = [_ms(statistics.median(found.lone[resident + part])) for part in ("", ", loads", ", overhead")]
        rows += [(f"Golem Chain, GOLEM_RESIDENT={resident}", *measured)]
    return Table(
        "A single job on an idle, warm system, ms (medians of ten clips)", ("setup", "wall", "loads", "overhead"), rows
    )


def _overheads(found: Findings) -> Table:
    rows = []
    for jobs, runs in found.small.items():
        each = [1000 * run.wall_s / run.jobs for run in runs]
        rows.append((
            jobs, f"{statistics.median(each):.1f}", f"{1000 * statistics.median(run.overhead_s for run in runs):.1f}",
            f"{60_000 / statistics.median(each):.0f}", runs[-1].loads, _megabytes(runs[0].peak_bytes),
            _megabytes(runs[-1].peak_bytes),
        ))  # fmt: skip
    heads = ("jobs", "ms/job", "overhead ms/job", "jobs/min", "loads", "peak MB, first run", "peak MB, last run")
    return Table("Small random models: overhead per job (medians of three alternating runs)", heads, rows)


def _listening(found: Findings) -> Table:
    peer = found.listening["faster-whisper int8"]["clip_s"]
    rows = [
        (name, f"{1000 * one['clip_s']:.0f}", f"{peer / one['clip_s']:.2f}", one["sentences"], one["commands"])
        for name, one in found.listening.items()
    ]
    heads = ("Scribe", "ms per clip", "× faster-whisper", "WER % sentences", "WER % commands")
    return Table(
        "The Scribe alone, Whisper tiny.en: batches of 8 against faster-whisper, one clip at a time", heads, rows
    )


def _targets(found: Findings) -> Iterator[tuple[str, str, str, str]]:
    """Yield (what, target, measured, met or missed)."""

    def line(what: str, target: str, value: float, met: bool, digits: int = 1) -> tuple[str, str, str, str]:
        return what, target, f"{value:.{digits}f}", "met" if met else "missed"

    for dtype in ("default", "fast"):
        runs = {run.jobs: run for name, run in quest(found).items() if name.startswith(dtype)}
        ten, large = runs[CLIPS], runs[max(runs)]
        for way, least in (("reload", 5.0), ("resident", 3.5)):
            value = _peer_s(found, way) * CLIPS / ten.wall_s
            yield line(f"{CLIPS} clips, {dtype}: speed-up over {way}", f"≥ {least}", value, value >= least)
        value = _peer_s(found, "reload") * large.jobs / large.wall_s
        yield line(f"{large.jobs} jobs, {dtype}: speed-up over reload", "≥ 6", value, value >= 6)
        value = 100 * large.overhead_s * large.jobs / large.wall_s
        yield line(f"{large.jobs} jobs, {dtype}: overhead, % of wall time", "< 5", value, value < 5)
    few, many = (statistics.median(run.wall_s / run.jobs for run in runs) for runs in found.small.values())
    overhead = 1000 * statistics.median(run.overhead_s for run in next(iter(found.small.values())))
    yield line("small models: overhead per job of three stages, ms", "≤ 15", overhead, overhead <= 15)
    jobs = list(found.small)
    yield line(f"time per job, {jobs[1]} jobs ÷ {jobs[0]} jobs", "≤ 1.1", many / few, many / few <= 1.1, 2)
    yield line("Redis memory per queued job, bytes", "< 4096", found.queued_bytes, found.queued_bytes < 4096, 0)
    first, last = (runs[-1].peak_bytes for runs in found.small.values())
    yield line(
        f"worker's peak memory, {jobs[1]} small jobs ÷ {jobs[0]}", "≤ 1.05", last / first, last / first <= 1.05, 2
    )
    allowed = statistics.median(found.peers["resident"]["jobs_s"]) + 0.030
    auto = statistics.median(found.lone["auto"])
    yield line(
        "single job, auto: ms above resident pipelines", "≤ 30", 1000 * (auto - allowed + 0.030), auto <= allowed, 0
    )
    one, loads = statistics.median(found.lone["1"]), statistics.median(found.lone["1, loads"])
    yield line("single job, one model: ms above auto plus its loads", "≤ 30", 1000 * (one - auto - loads),
               one - auto - loads <= 0.030, 0)  # fmt: skip
    if found.listening:
        peer = found.listening["faster-whisper int8"]
        for name, least in (("ours", 1.3), ("ours, GOLEM_SCRIBE_CONTEXT=fast", 2.0)):
            mine = found.listening[name]
            value = peer["clip_s"] / mine["clip_s"]
            yield line(f"Scribe, {name}: speed-up over faster-whisper int8", f"≥ {least}", value, value >= least, 2)
            worse = max(mine[kind] - peer[kind] for kind in ("sentences", "commands"))
            yield line(f"Scribe, {name}: WER above faster-whisper int8, points", "≤ 0", worse, worse <= 0, 2)
    yield line("jobs with the same transcript in batches of 1 and 8", f"{found.same['jobs']}", found.same["equal"],
               found.same["equal"] == found.same["jobs"], 0)  # fmt: skip


def plot(found: Findings, file: Path) -> None:
    """Plot the seconds per clip of each setup as bars, stacked by stage, loads and overhead."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars: list[tuple[str, dict[str, float]]] = []
    for way, told in (
        ("reload", "load, run, unload\nper file and stage"),
        ("resident", "all resident,\none at a time"),
    ):
        one = found.peers[way]
        parts = {stage: one["stages_s"][stage] / CLIPS for stage in STAGES}
        bars.append((told, parts | {"loads": (one["load_s"] + one["unload_s"]) / CLIPS}))
    for name, run in quest(found).items():
        parts = {stage: run.stages_s.get(stage, 0.0) / run.jobs for stage in STAGES}
        bars.append((f"Golem Chain\n{name}", parts | {"loads": run.load_s / run.jobs, "overhead": run.overhead_s}))
    figure, axis = pyplot.subplots(figsize=(10, 4.2), layout="constrained")
    left = [0.0] * len(bars)
    for part in (*STAGES, "loads", "overhead"):
        widths = [max(0.0, parts.get(part, 0.0)) for _, parts in bars]
        shade = colour(part) if part in STAGES else {"loads": "#D55E00", "overhead": "#444444"}[part]
        axis.barh([name for name, _ in bars], widths, left=left, label=part, color=shade)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for place, total in enumerate(left):
        axis.text(total, place, f" {total:.2f} s", va="center")
    axis.invert_yaxis()
    axis.set_xlabel("seconds per clip")
    axis.set_xlim(0, max(left) * 1.12)
    axis.legend(loc="lower right")
    axis.set_title("One clip through three stages, quest shapes")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def as_json(found: Findings) -> JsonObject:
    """Return findings and targets in JSON types, with file names relative to their data folder."""
    told: JsonObject = _relative(asdict(found))
    return told | {"targets": [list(row) for row in _targets(found)]}


def _relative(told: Any) -> Any:
    """Return the same data without this machine's folders in its keys."""
    if isinstance(told, dict):
        return {named(key) if isinstance(key, str) else key: _relative(value) for key, value in told.items()}
    return [_relative(one) for one in told] if isinstance(told, list) else told


def write(found: Findings, docs: Path) -> None:
    """Write the tables into the page, and the plot into the `figures` folder next to it."""
    picture = docs.parent / "figures" / "performance.png"
    picture.parent.mkdir(exist_ok=True)
    plot(found, picture)
    shown = "\n".join(table.markdown() for table in tables(found))
    told = f"Measured on: {found.hardware}. Clips: {found.clips}."
    into_docs(docs, "chain", f"{told}\n\n![seconds per clip](figures/{picture.name})\n\n{shown}")


def _megabytes(count_bytes: float) -> str:
    return f"{count_bytes / 1e6:.0f}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"
