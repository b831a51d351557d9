"""Submits files, waits for their jobs with progress bars, and reports the Outcomes."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from golem_chain.broker.cli import tables
from golem_chain.broker.cli.console import console, line, say
from golem_chain.broker.cli.export import Files
from golem_chain.broker.cli.progress import Progress
from golem_chain.broker.jobs.vault import read_file
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import BadAudio
from golem_chain.shared.records import Failure, JobOptions, Outcome
from golem_chain.shared.text import storable

#: Interval of updating the bars and checking the worker, seconds; longer for many jobs, where each poll costs more.
LOOK_S, LOOK_MANY_S, MANY = 0.3, 1.0, 200


def hand_in(pipeline: Pipeline, files: Sequence[str], options: JobOptions) -> Iterator[tuple[str, Outcome | None]]:
    """Submit the files and yield each job's id, with a failed Outcome if the file could not be submitted."""
    for file in files:
        name = storable(file)
        try:
            # A path that is not UTF-8 cannot be a reference in a message: submit the bytes instead.
            path = Path(file)
            audio = path if name == file else read_file(path, pipeline.settings.audio_max_bytes)
            yield pipeline.submit_with(audio, options, name=name), None
        except BadAudio as exc:
            failure = Failure(code=exc.code, message=exc.message)
            job = uuid.uuid4().hex
            yield job, Outcome(job=job, name=name, state="failed", error=failure)


def follow(
    pipeline: Pipeline,
    jobs: Sequence[str],
    kept: Files | None = None,
    *,
    as_json: bool,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Outcome]:
    """Wait for all jobs, with bars on a terminal and JSON lines and files as jobs end. `check` may raise to abort."""
    left = dict.fromkeys(jobs)
    ended: dict[str, Outcome] = {}
    with Progress(len(left)) as progress:
        while left:
            look_s = LOOK_S if len(left) < MANY else LOOK_MANY_S
            for outcome in pipeline.wait(tuple(left), timeout_s=look_s):
                left.pop(outcome.job, None)
                ended[outcome.job] = outcome
                if kept:
                    kept.write([outcome])
                if as_json:
                    line(outcome.model_dump(mode="json"))
                    if outcome.state != "done":
                        progress.tell(tables.why(outcome))
            if left:
                check()
                if progress.live:
                    passed = pipeline.progress(tuple(left))
                    far = pipeline.heard(tuple(left))
                    progress.show({stage: count + len(ended) for stage, count in passed.items()}, far)
    return ended


def gather(
    pipeline: Pipeline,
    handed: Mapping[str, Outcome | None],
    kept: Files | None = None,
    *,
    as_json: bool,
    check: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Wait for the submitted jobs and return their Outcomes in order; jobs that never started are reported first."""
    failed = {job: outcome for job, outcome in handed.items() if outcome}
    for outcome in failed.values() if as_json else ():
        line(outcome.model_dump(mode="json"))
        say(tables.why(outcome))
    left = [job for job in handed if job not in failed]
    ended = failed | follow(pipeline, left, kept, as_json=as_json, check=check)
    return [ended[job] for job in handed]


def report(outcomes: Sequence[Outcome], started: float, kept: Files | None = None, *, as_json: bool) -> int:
    """Print the table (JSON lines are already printed) and the totals, and return the exit code."""
    if not as_json:
        tables.outcomes(outcomes, as_json=False)
    console().print(tables.totals(outcomes, time.monotonic() - started))
    if kept:
        say(kept.summary())
    return 0 if all(outcome.state == "done" for outcome in outcomes) else 1
