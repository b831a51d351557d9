"""The report of `golem bench chain`: tables, targets, JSON, the docs page and the costs file."""

import statistics
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from golem_chain.benchmarks.chain.backlogs import LABELS, TOKENS, Set
from golem_chain.benchmarks.chain.performance import Findings
from golem_chain.benchmarks.chain.picture import plot
from golem_chain.benchmarks.chain.recordings import named
from golem_chain.benchmarks.chain.run import Run
from golem_chain.benchmarks.chain.targets import speed_up, targets
from golem_chain.benchmarks.fleet import costs
from golem_chain.benchmarks.report import Table, into_docs, target_table
from golem_chain.broker.queues import STAGES
from golem_chain.shared.json_object import JsonObject

PEERS = {
    "reload": "load, run, unload for every file and stage (transformers pipelines)",
    "resident": "all three resident, one file at a time (transformers pipelines)",
}
SETS = {"quest": "quest shapes", "bundled": "bundled models"}


def sets(found: Findings) -> Iterator[tuple[str, Set]]:
    """Yield name and measurements of each set of models that was measured."""
    for key, name in SETS.items():
        one: Set = getattr(found, key)
        if one.peers or one.runs:
            yield name, one


def tables(found: Findings) -> Iterator[Table]:
    """Yield the tables of all parts that were measured."""
    for name, one in sets(found):
        yield _ways(name, one)
    if any(one.runs for _, one in sets(found)):
        yield _runs(found)
        yield _memory(found)
    if found.lone:
        yield _lone(found)
    if found.steps:
        yield _steps(found)
    if found.hearing:
        yield _hearing(found)
    if found.processors:
        yield from _processors(found)
    if found.small:
        yield _overheads(found)
    yield target_table(targets(found))


def _ways(name: str, one: Set) -> Table:
    rows: list[tuple[Any, ...]] = []
    for way, told in PEERS.items():
        if way in one.peers:
            peer = one.peers[way]
            jobs = len(peer["jobs_s"])
            each = float(peer["wall_s"]) / jobs
            ratios = [f"{float(other['wall_s']) / len(other['jobs_s']) / each:.1f}" for other in one.peers.values()]
            stages = (f"{peer['stages_s'][stage] / jobs:.2f}" for stage in STAGES)
            loads, peak = (peer["load_s"] + peer["unload_s"]) / jobs, _megabytes(peer["peak_bytes"])
            tokens = f"{peer['new_tokens'] / jobs:.0f}"
            rows.append((told, f"{each:.2f}", f"{loads:.2f}", *stages, *ratios, tokens, peak))
    for setting, runs in one.runs.items():
        for jobs, run in runs.items():
            stages = (f"{run.stages_s.get(stage, 0.0) / jobs:.2f}" for stage in STAGES)
            ratios = [f"{speed_up(one, setting, jobs, way):.1f}" for way in one.peers]
            told = f"Golem Chain, {setting}, {jobs} jobs"
            loads, peak = run.load_s / jobs, _megabytes(run.peak_bytes)
            tokens = f"{run.new_tokens / jobs:.0f}"
            rows.append((told, f"{run.wall_s / jobs:.2f}", f"{loads:.2f}", *stages, *ratios, tokens, peak))
    heads = ("setup", "s per clip", "loads, unloads", *STAGES, *(f"× {way}" for way in one.peers),
             "tokens per reply", "peak MB")  # fmt: skip
    return Table(f"{name[0].upper()}{name[1:]}, {len(LABELS.labels)} labels, {TOKENS} tokens at most", heads, rows)


def _each(found: Findings) -> Iterator[tuple[str, Set, Run]]:
    """Yield name, set and run of each backlog."""
    for name, one in sets(found):
        for setting, runs in one.runs.items():
            for jobs, run in runs.items():
                yield f"{name}, {setting}, {jobs} jobs", one, run


def _runs(found: Findings) -> Table:
    rows = []
    for name, one, run in _each(found):
        sizes = [size for batches in run.batches.values() for size in batches]
        alone = one.alone_s.get(name.split(", ", 1)[1].rsplit(", ", 1)[0])
        rows.append((
            name, f"{run.wall_s:.1f}", f"{run.jobs_per_minute:.0f}", f"{run.first_s:.1f}",
            f"{statistics.median(alone):.1f}" if alone else "–", run.loads, f"{statistics.mean(sizes):.1f}",
            f"{1000 * run.overhead_s:.1f}", f"{run.efficiency:.0%}",
        ))  # fmt: skip
    heads = ("run", "wall s", "jobs/min", "first answer s", "a lone job s", "loads", "mean batch", "overhead ms/job",
             "compute ÷ wall")  # fmt: skip
    return Table("Backlogs on one worker, GOLEM_RESIDENT=1", heads, rows)


def _memory(found: Findings) -> Table:
    rows: list[tuple[Any, ...]] = []
    for name, one in sets(found):
        for setting, runs in one.runs.items():
            run = runs[min(runs)]  # on a fresh worker
            for stage in STAGES:
                if stage in run.weights_bytes:
                    model = run.models.get(stage, "")
                    rows.append((name, setting, stage, _precision(model), _megabytes(run.weights_bytes[stage])))
            rows.append((name, setting, "worker's peak", "", _megabytes(run.peak_bytes)))
    if found.samples:
        rows.append(("bundled models", "the samples", "worker's peak", "", _megabytes(found.samples.peak_bytes)))
    return Table("Memory by setting, MB: weights of each model, and the peak of the process", (
        "models", "setting", "what", "precision", "MB"), rows)  # fmt: skip


def _precision(model: str) -> str:
    """`float32` of `name@revision float32`."""
    return model.partition("@")[2].partition(" ")[2]


def _lone(found: Findings) -> Table:
    rows: list[tuple[Any, ...]] = []
    if "resident" in found.quest.peers:
        resident = statistics.median(found.quest.peers["resident"]["jobs_s"])
        rows.append(("all three resident (transformers pipelines)", _ms(resident), "–", "–"))
    for name, one in found.lone.items():
        medians = (_ms(statistics.median(times)) for times in (one.wall_s, one.load_s, one.overhead_s))
        rows.append((f"Golem Chain, GOLEM_RESIDENT={name}", *medians))
    jobs = len(found.lone["1"].wall_s)
    title = f"A single job on an idle, warm system, quest shapes, ms (medians of {jobs}, in turn)"
    return Table(title, ("setup", "wall", "loads", "overhead"), rows)


def _steps(found: Findings) -> Table:
    rows = []
    for name, one in found.steps.items():
        for count in ("1", "16"):
            step, theirs = float(one[count]["step_s"]), float(one[count]["generate_s"])
            rows.append((
                name, _precision(one["model"]), count, f"{1000 * step:.1f}", f"{1000 * theirs:.1f}",
                f"{theirs / step:.2f}", one[count]["kernels"], _megabytes(one["weights_bytes"]),
            ))  # fmt: skip
    heads = ("setting", "precision", "rows", "ms per step", "generate, float32, ms", "× generate", "kernels",
             "weights MB")  # fmt: skip
    return Table("A step of the bundled Oracle, and transformers' generate in float32", heads, rows)


def _hearing(found: Findings) -> Table:
    rows = []
    for name, one in found.hearing.items():
        peer = found.hearing[f"faster-whisper int8, beam {'5' if 'beam 5' in name else '1'}"]
        rows.append((name, f"{1000 * one.clip_s:.0f}", f"{peer.clip_s / one.clip_s:.2f}", one.sentences, one.commands))
    heads = ("Scribe", "ms per clip", "× faster-whisper, same beam", "WER % sentences", "WER % commands")
    return Table(
        "The Scribe alone, Whisper tiny.en: batches of 8 against faster-whisper, one clip at a time", heads, rows
    )


def _processors(found: Findings) -> Iterator[Table]:
    rows, runs = [], []
    for name, one in found.processors.items():
        for product, times in one["products"].items():
            ratio = times["float32"] / times["bfloat16"]
            rows.append((
                name, product, f"{1000 * times['float32']:.2f}", f"{1000 * times['bfloat16']:.2f}", f"{ratio:.1f}",
            ))  # fmt: skip
        setting = "default" if name == "as it is" else f"default, {name}"
        run = found.bundled.runs.get(setting)
        each = min(run.items())[1] if run else None
        told = f"{each.wall_s / each.jobs:.2f}" if each else "–"
        runs.append((name, *(one["runs"][stage] for stage in STAGES), told))
    yield Table("What runs on which processor, by default, with the bundled models", (
        "processor", *STAGES, "s per clip"), runs)  # fmt: skip
    yield Table("Its matrix products, ms", ("processor", "rows × in × out", "float32", "bfloat16", "ratio"), rows)


def _overheads(found: Findings) -> Table:
    rows = []
    for jobs, runs in found.small.items():
        each = [1000 * run.wall_s / run.jobs for run in runs]
        rows.append((
            jobs, len(runs), f"{statistics.median(each):.1f}",
            f"{1000 * statistics.median(run.overhead_s for run in runs):.1f}",
            f"{60_000 / statistics.median(each):.0f}", runs[-1].loads, _megabytes(runs[0].peak_bytes),
            _megabytes(runs[-1].peak_bytes),
        ))  # fmt: skip
    heads = ("jobs", "runs", "ms/job", "overhead ms/job", "jobs/min", "loads", "peak MB, first run", "last run")
    return Table("Small random models: overhead per job (medians)", heads, rows)


def stage_costs(found: Findings) -> costs.Costs | None:
    """What each stage costs with the quest shapes and default settings, for the simulation of many boxes: by the
    backlog and, if they were measured, by single jobs with all models resident. None without the backlog."""
    runs = [*found.quest.runs.get("default", {}).values()]
    if not runs or any(stage not in runs[0].weights_bytes for stage in STAGES):
        return None
    fitted: dict[str, costs.Cost] = {}
    for stage in STAGES:
        timed = [one for run in runs for one in run.timed[stage]]
        if "auto" in found.lone:  # one point, as a batch is
            timed.append((1, statistics.median(found.lone["auto"].stages_s[stage])))
        batch_s, item_s = costs.fitted(timed)
        loads = [took for run in runs for took in run.loads_s[stage]]
        fitted[stage] = costs.Cost(statistics.median(loads), batch_s, item_s, runs[0].weights_bytes[stage] / 1e6)
    return fitted


def as_json(found: Findings) -> JsonObject:
    """Return findings and targets in JSON types, with file names relative to their data folder."""
    told: JsonObject = _relative(asdict(found))
    return told | {"targets": [list(row) for row in targets(found)]}


def _relative(told: Any) -> Any:
    """Return the same data without this machine's folders in its keys."""
    if isinstance(told, dict):
        return {named(key) if isinstance(key, str) else key: _relative(value) for key, value in told.items()}
    return [_relative(one) for one in told] if isinstance(told, (list, tuple)) else told


def write(found: Findings, docs: Path) -> None:
    """Write the tables into the page, the plot into the `figures` folder next to it, and beside it the costs that
    `golem bench fleet` reads."""
    picture = docs.parent / "figures" / "performance.png"
    picture.parent.mkdir(exist_ok=True)
    shown = "\n".join(table.markdown() for table in tables(found))
    told = f"Measured on: {found.hardware}. Clips: {found.clips}."
    told += "".join(f" Left out: {part}, because {why}" for part, why in found.left_out.items())
    if plot(dict(sets(found)), picture):
        told += f"\n\n![seconds per clip](figures/{picture.name})"
    if found.proof:
        told += f"\n\nWhat `golem models prove` found for the bundled models:\n\n```\n{found.proof}\n```"
    into_docs(docs, "chain", f"{told}\n\n{shown}")
    if measured := stage_costs(found):
        costs.write(docs.parent / "costs.json", measured)


def _megabytes(count_bytes: float) -> str:
    return f"{count_bytes / 1e6:.0f}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"
