"""Submits files and texts, waits for their jobs with progress bars, and reports the Outcomes."""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from golem_chain.broker.cli import tables
from golem_chain.broker.cli.console import console, line, say
from golem_chain.broker.cli.export import Files
from golem_chain.broker.cli.progress import Progress
from golem_chain.broker.cli.texts import Named
from golem_chain.broker.jobs.vault import read_file
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import BadAudio, BrokerAway
from golem_chain.shared.records import Failure, JobOptions, Outcome
from golem_chain.shared.text import storable

#: Interval of checking the worker and, with few jobs, of updating the bars, seconds.
LOOK_S = 0.3
#: With many jobs, the bars are updated from a sample of this size, less often: this many jobs are asked for per second.
SAMPLE, ASKED_PER_S = 200, 100


def hand_in(
    pipeline: Pipeline,
    files: Sequence[str],
    options: JobOptions,
    id: str | None = None,
    id_from: Literal["content"] | None = None,
) -> Iterator[tuple[str, Outcome | None]]:
    """Submit the files and yield each job's id, with a failed Outcome if the file could not be submitted. Files of the
    same content have the same id if it is derived from the content."""
    for file in files:
        name = storable(file)
        try:
            # A path that is not UTF-8 cannot be a reference in a message: submit the bytes instead.
            path = Path(file)
            audio = path if name == file else read_file(path, pipeline.settings.audio_max_bytes)
            yield pipeline.submit_with(audio, options, id=id, id_from=id_from, name=name), None
        except BadAudio as exc:
            failure = Failure(code=exc.code, message=exc.message)
            job = uuid.uuid4().hex
            yield job, Outcome(job=job, name=name, state="failed", error=failure)


def named(handed: Sequence[tuple[str, Outcome | None]], names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names under which each job was handed in. A job whose id is not random may have several, and another
    one in its Outcome: that of the first who submitted it. Pure."""
    found: dict[str, list[str]] = {}
    for (job, _), name in zip(handed, names, strict=True):
        found.setdefault(job, []).append(storable(name))
    return found


def _each(outcome: Outcome, names: Mapping[str, Sequence[str]]) -> list[Outcome]:
    """Return the Outcome under each of its names."""
    return [outcome.model_copy(update={"name": name}) for name in names.get(outcome.job, [outcome.name])]


def hand_in_texts(
    pipeline: Pipeline, texts: Sequence[Named], intent: str | None, options: JobOptions
) -> Iterator[tuple[str, Outcome | None]]:
    """Submit the texts and yield each job's id."""
    for one in texts:
        yield pipeline.submit_with(None, options, text=one.text, intent=intent, name=storable(one.name)), None


def follow(
    pipeline: Pipeline,
    jobs: Sequence[str],
    kept: Files | None = None,
    *,
    as_json: bool,
    check: Callable[[], None] = lambda: None,
    stages: Sequence[str] = STAGES,
    names: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, Outcome]:
    """Wait for all jobs, with bars of the stages on a terminal and JSON lines and files as jobs end. `check` may raise
    to abort. `names` are those under which a job is reported, if not that of its Outcome."""
    left = dict.fromkeys(jobs)
    ended: dict[str, Outcome] = {}
    shown = dict.fromkeys(STAGES, 0)
    update = time.monotonic()
    with Progress(len(left), stages) as progress:
        for outcome in pipeline.watch(tuple(left), tick_s=LOOK_S):
            if outcome:
                left.pop(outcome.job, None)
                ended[outcome.job] = outcome
                for one in _each(outcome, names):
                    if kept:
                        kept.write([one])
                    if as_json:
                        line(one.model_dump(mode="json"))
                        if one.state != "done":
                            progress.tell(tables.why(one))
                continue
            check()
            if progress.live and left and time.monotonic() >= update:
                with suppress(BrokerAway):  # `watch` decides how long to wait for Redis
                    passed, far = _progress(pipeline, tuple(left))
                    shown = {stage: max(shown[stage], count + len(ended)) for stage, count in passed.items()}
                    progress.show(shown, far)
                update = time.monotonic() + min(len(left), SAMPLE) / ASKED_PER_S
    return ended


def _progress(pipeline: Pipeline, left: Sequence[str]) -> tuple[dict[str, int], tuple[float, float]]:
    """Return how many unfinished jobs have passed each stage, and the seconds transcribed and in total of those in the
    first stage. Of more than SAMPLE jobs, the counts are estimated from jobs at equal distances."""
    asked = left[:: math.ceil(len(left) / SAMPLE)]
    share = len(left) / len(asked)
    passed = {stage: round(count * share) for stage, count in pipeline.progress(asked).items()}
    first = max(0, passed[STAGES[0]] - SAMPLE // 2)  # jobs are taken in order: around here they are being transcribed
    return passed, pipeline.heard(left[first : first + SAMPLE])


def gather(
    pipeline: Pipeline,
    handed: Mapping[str, Outcome | None],
    kept: Files | None = None,
    *,
    as_json: bool,
    check: Callable[[], None] = lambda: None,
    stages: Sequence[str] = STAGES,
    names: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[Outcome]:
    """Wait for the submitted jobs and return their Outcomes in order; jobs that never started are reported first."""
    failed = {job: outcome for job, outcome in handed.items() if outcome}
    for outcome in failed.values() if as_json else ():
        line(outcome.model_dump(mode="json"))
        say(tables.why(outcome))
    left = [job for job in handed if job not in failed]
    ended = failed | follow(pipeline, left, kept, as_json=as_json, check=check, stages=stages, names=names)
    return [one for job in handed for one in _each(ended[job], names)]


def report(outcomes: Sequence[Outcome], started: float, kept: Files | None = None, *, as_json: bool) -> int:
    """Print the table (JSON lines are already printed) and the totals, and return the exit code."""
    if not as_json:
        tables.outcomes(outcomes, as_json=False)
    console().print(tables.totals(outcomes, time.monotonic() - started))
    if kept:
        say(kept.summary())
    return 0 if all(outcome.state == "done" for outcome in outcomes) else 1
