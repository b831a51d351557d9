"""The targets of `golem bench chain`, each a figure of one run against another of the same run."""

import statistics
from collections.abc import Iterator, Mapping

from golem_chain.benchmarks.chain.backlogs import Set
from golem_chain.benchmarks.chain.hearing import DEFAULT
from golem_chain.benchmarks.chain.performance import ONE_BEAM, Findings
from golem_chain.benchmarks.chain.run import Run
from golem_chain.benchmarks.report import Target
from golem_chain.benchmarks.steps.processors import NO_BFLOAT16

#: Version 0.6.0 with the bundled models and ten clips, on 2 cores of an AMD EPYC with bfloat16 instructions: × the
#: pipelines of the same run, by wall time. Means of two runs.
BEFORE = {"reload": 5.6, "resident": 3.5}
#: Likewise with bfloat16 instructions masked.
BEFORE_MASKED = {"resident": 2.0}
#: Steps of its Oracle, SmolLM2 in float32: × transformers' `generate` of the same run, by the number of rows. What was
#: not measured has no target.
BEFORE_STEPS: Mapping[str, float] = {"1": 1.03, "16": 1.19}
#: Its word error rates with a beam of 1, percent.
BEFORE_COMMANDS = 21.3


def targets(found: Findings) -> Iterator[Target]:
    """Yield the targets of the parts that were measured."""
    yield from _quest(found.quest)
    yield from _bundled(found)
    yield from _oracle(found)
    yield from _scribe(found)
    yield from _memory(found)
    yield from _lone(found)
    yield from _small(found)


def least(what: str, aim: float, value: float, digits: int = 1) -> Target:
    """A value that must be at least `aim`."""
    return Target(what, f"≥ {aim:.{digits}f}", f"{value:.{digits}f}", value >= aim)


def most(what: str, aim: float, value: float, digits: int = 1) -> Target:
    """A value that must be at most `aim`."""
    return Target(what, f"≤ {aim:.{digits}f}", f"{value:.{digits}f}", value <= aim)


def speed_up(one: Set, name: str, jobs: int, way: str) -> float:
    """How many times as fast a worker with the settings `name` is as pipelines, for a backlog of this size."""
    run, peer = one.runs[name][jobs], one.peers[way]
    return float(peer["wall_s"]) / len(peer["jobs_s"]) * jobs / run.wall_s


def _sizes(one: Set, name: str) -> tuple[int, int] | None:
    """The smallest and the largest backlog; None if it was not measured beside pipelines."""
    runs = one.runs.get(name, {})
    return (min(runs), max(runs)) if len(runs) > 1 and {*one.peers} >= {"reload", "resident"} else None


def _quest(one: Set) -> Iterator[Target]:
    sizes = _sizes(one, "fast")
    if sizes is None:
        return
    few, many = sizes
    for jobs, way, aim in ((few, "reload", 8.0), (few, "resident", 6.0), (many, "reload", 10.0)):
        value = speed_up(one, "fast", jobs, way)
        yield least(f"quest shapes, bfloat16, {jobs} jobs: speed-up over {way}", aim, value)
    if few in one.runs.get(ONE_BEAM, {}):
        for way, aim in (("reload", 8.0), ("resident", 6.0)):
            value = speed_up(one, ONE_BEAM, few, way)
            yield least(f"the same with one beam, as the pipelines have, {few} jobs: speed-up over {way}", aim, value)
    run = one.runs["fast"][many]
    yield most(f"quest shapes, bfloat16, {many} jobs: overhead, % of wall time", 5.0, 100 * overhead(run))


def overhead(run: Run) -> float:
    """Overhead as a share of the wall time."""
    return run.overhead_s * run.jobs / run.wall_s


def _bundled(found: Findings) -> Iterator[Target]:
    one = found.bundled
    sizes = _sizes(one, "default")
    if sizes is None:
        return
    few, many = sizes
    for way, before in BEFORE.items():
        value = speed_up(one, "default", few, way)
        yield least(f"bundled models, default, {few} jobs: speed-up over {way}, 1.4 × version 0.6", 1.4 * before, value)
    masked = f"default, {NO_BFLOAT16}"
    if few in one.runs.get(masked, {}):
        value = speed_up(one, masked, few, "resident")
        yield least(
            f"bundled models, {masked}: speed-up over resident, as version 0.6", BEFORE_MASKED["resident"], value
        )
    if alone := one.alone_s.get("default"):
        value = one.runs["default"][many].first_s / statistics.median(alone)
        yield most(f"bundled models, {many} jobs: first answer ÷ a lone job", 2.0, value)


def _oracle(found: Findings) -> Iterator[Target]:
    steps = found.steps
    if "float32" not in steps:
        return
    default = steps.get("default", steps["float32"])
    for rows, times in (("16", 1.8), ("1", 1.3)):
        if rows not in BEFORE_STEPS:
            continue
        value = float(default[rows]["generate_s"]) / float(default[rows]["step_s"])
        many = "row" if rows == "1" else "rows"
        what = f"Oracle, default, a step of {rows} {many}: × generate, {times} × version 0.6"
        yield least(what, times * BEFORE_STEPS[rows], value)
    packed = [float(one["1"]["generate_s"]) / float(one["1"]["step_s"]) for name, one in steps.items() if "bit" in name]
    if packed and "1" in BEFORE_STEPS:
        yield least("Oracle, packed, a step of 1 row: × generate, 2 × version 0.6", 2 * BEFORE_STEPS["1"], max(packed))
    yield most("Oracle, kernels of a step of 1 row", 700, float(steps["float32"]["1"]["kernels"]), 0)


def _scribe(found: Findings) -> Iterator[Target]:
    heard = found.hearing
    for beam, name in (("1", "ours, beam 1"), ("5", DEFAULT)) if heard else ():
        ours, theirs = heard[name], heard[f"faster-whisper int8, beam {beam}"]
        yield least(f"Scribe, beam {beam}: speed-up over faster-whisper int8", 1.5, theirs.clip_s / ours.clip_s, 2)
        for kind in ("sentences", "commands"):
            worse = getattr(ours, kind) - getattr(theirs, kind)
            yield most(f"Scribe, beam {beam}: WER above faster-whisper int8, {kind}, points", 0.0, worse, 2)
    if heard:
        default, greedy = heard[DEFAULT], heard["ours, beam 1"]
        yield most("Scribe, default: WER of sentences, %", 4.5, default.sentences, 2)
        yield most("Scribe, default: WER of commands, %", BEFORE_COMMANDS, default.commands, 2)
        yield most("Scribe, default: time on sentences ÷ beam 1", 1.3, default.sentence_s / greedy.sentence_s, 2)
    if same := found.same:
        what = "jobs with the same transcript in batches of 1 and 8"
        yield Target(what, str(same["jobs"]), str(same["equal"]), same["equal"] == same["jobs"])


def _memory(found: Findings) -> Iterator[Target]:
    for name, aim in (("8 bit", 170.0), ("4 bit", 100.0)):
        if name in found.steps:
            yield most(
                f"Oracle, {name}: weights in memory, MB", aim, float(found.steps[name]["weights_bytes"]) / 1e6, 0
            )
    if found.samples:
        yield most("the samples with one model: peak of the worker, MB", 900, found.samples.peak_bytes / 1e6, 0)


def _lone(found: Findings) -> Iterator[Target]:
    if not found.lone:
        return
    auto, one = (statistics.median(found.lone[name].wall_s) for name in ("auto", "1"))
    loads = statistics.median(found.lone["1"].load_s)
    yield most("single job, one model: ms above auto plus its loads", 30, 1000 * (one - auto - loads), 0)
    if "resident" in found.quest.peers:
        resident = statistics.median(found.quest.peers["resident"]["jobs_s"])
        yield most("single job, auto: ms above resident pipelines", 30, 1000 * (auto - resident), 0)


def _small(found: Findings) -> Iterator[Target]:
    if not found.small:
        return
    few, many = sorted(found.small)
    each = {jobs: statistics.median(run.wall_s / run.jobs for run in runs) for jobs, runs in found.small.items()}
    over = 1000 * statistics.median(run.overhead_s for run in found.small[few])
    yield most("small models: overhead per job of three stages, ms", 15, over)
    yield most(f"time per job, {many} jobs ÷ {few} jobs", 1.1, each[many] / each[few], 2)
    yield most("Redis memory per queued job, bytes", 4096, found.queued_bytes, 0)
    first, last = found.small[few][0].peak_bytes, found.small[few][-1].peak_bytes
    if first:  # only Linux tells it
        yield most(f"worker's peak memory, after {many} small jobs ÷ before", 1.05, last / first, 2)
