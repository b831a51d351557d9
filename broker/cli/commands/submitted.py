"""The commands about jobs that were submitted: results, cancel, next, jobs. `main.py` registers them."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from golem_chain.broker.cli.arguments.options import Format, JobIds, Json, Out, Wait, export_files, job_ids
from golem_chain.broker.cli.arguments.treatment import checked_group
from golem_chain.broker.cli.console import interrupted, line, say
from golem_chain.shared.errors import BadRequest, BrokerAway

if TYPE_CHECKING:
    from golem_chain.broker.cli.export import Files
    from golem_chain.broker.jobs.groups import GroupStatus
    from golem_chain.broker.pipeline import Group, Pipeline
    from golem_chain.shared.json_object import JsonObject
    from golem_chain.shared.records import Outcome

#: Jobs on a page of `golem jobs`.
PAGE = 50

SomeJobs = Annotated[
    list[str] | None,
    typer.Argument(metavar="JOB", help="Job ids as printed by submit; - reads them from stdin.", show_default=False),
]
OfGroup = Annotated[
    str | None, typer.Option("--group", metavar="NAME", help="The jobs that were submitted with this --group.")
]


def results(
    jobs: SomeJobs = None,
    group: OfGroup = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="CURSOR", help="With --group: only ends after this one, as --json names it."),
    ] = None,
    wait: Wait = False,
    form: Format = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Show job results, those of a group in the order of their ends."""
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.settings import Settings

    started = time.monotonic()
    ids = _one_of(jobs, group)
    if since is not None and group is None:
        raise BadRequest("--since goes on in a group: add --group NAME.")
    if form is None and out is not None:
        export_files((), form, out)
    with Pipeline(Settings.read()) as pipeline:
        if group is not None:
            _results_of_group(pipeline.group(group), since, form, out, started, wait=wait, as_json=as_json)
        with interrupted("Stopped waiting; the jobs continue."):
            _results_of_jobs(pipeline, ids, form, out, started, wait=wait, as_json=as_json)


def cancel(jobs: SomeJobs = None, group: OfGroup = None, as_json: Json = False) -> None:
    """Cancel jobs, queued or running."""
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.settings import Settings

    ids = _one_of(jobs, group)
    with Pipeline(Settings.read()) as pipeline:
        if group is not None:
            status = pipeline.group(group).cancel()
            unfinished = status.jobs - status.ended
            if as_json:
                line(of_group(group, status))
            elif unfinished:
                say(f"The group {group} is cancelled: {unfinished:,} of {status.jobs:,} jobs had not ended.")
            else:
                say(f"All {status.jobs:,} jobs of the group {group} had already ended.")
            raise typer.Exit(0 if unfinished else 1)
        ended = []
        for job in ids:
            outcome = pipeline.cancel(job)
            ended.append(outcome)
            if as_json:
                line(outcome.model_dump(mode="json"))
            else:
                late = outcome.state != "cancelled"
                say(f"Job {job} had already ended: {outcome.state}." if late else f"Job {job} is cancelled.")
    raise typer.Exit(0 if all(one.state == "cancelled" for one in ended) else 1)


def next_(jobs: JobIds, as_json: Json = False) -> None:
    """Run waiting jobs before all others."""
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.settings import Settings

    late = 0
    with Pipeline(Settings.read()) as pipeline:
        # The one that is moved last is at the head: the first one named.
        moved = {job: pipeline.promote(job) for job in reversed(job_ids(jobs))}
    for job in reversed(moved):
        late += not moved[job]
        if as_json:
            line({"job": job, "next": moved[job]})
        else:
            say(f"Job {job} is next." if moved[job] else f"Job {job} had already ended.")
    raise typer.Exit(1 if late else 0)


def jobs_(
    page: Annotated[int, typer.Option("--page", min=1, metavar="N", help=f"Older jobs, {PAGE} on a page.")] = 1,
    as_json: Json = False,
) -> None:
    """List the jobs that you have submitted, newest first."""
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.settings import Settings

    first = (page - 1) * PAGE
    with Pipeline(Settings.read()) as pipeline:
        found = pipeline.mine(first, PAGE)
        older = not as_json and bool(pipeline.mine(first + PAGE, PAGE))
    if as_json:
        for one in found:
            line(one._asdict())
    elif found:
        from golem_chain.broker.cli import tables
        from golem_chain.broker.cli.console import console

        console(stderr=False).print(tables.of_listed(found, time.time()))
    else:
        say(f"There are no jobs on page {page}." if page > 1 else "You have no jobs: they expire after GOLEM_KEEP_S.")
    if older:
        say(f"Older ones: golem jobs --page {page + 1}.")


def status_of_group(group: str, *, as_json: bool) -> None:
    """Print the counters of a group."""
    from golem_chain.broker.cli import tables
    from golem_chain.broker.cli.console import console
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.settings import Settings

    with Pipeline(Settings.read()) as pipeline:
        status = pipeline.group(checked_group(group)).status()
    if as_json:
        line(of_group(group, status))
    else:
        console(stderr=False).print(tables.of_group(group, status))


def of_group(group: str, status: "GroupStatus") -> "JsonObject":
    """Return the counters of a group as a JSON object."""
    return {"group": group} | status._asdict()


def _one_of(jobs: list[str] | None, group: str | None) -> list[str]:
    """Return the ids, none with a group. Raises BadRequest unless exactly one of the two was given."""
    if bool(jobs) == (group is not None):
        raise BadRequest("Give either the ids of jobs or --group NAME.")
    if group is not None:
        checked_group(group)
    return job_ids(jobs) if jobs else []


def _results_of_jobs(
    pipeline: "Pipeline", ids: Sequence[str], form: Format, out: Out, started: float, *, wait: bool, as_json: bool
) -> NoReturn:
    from golem_chain.broker.cli.follow.progress import Progress
    from golem_chain.broker.cli.follow.report import Report
    from golem_chain.broker.cli.follow.rows import Rows
    from golem_chain.broker.cli.follow.wait import follow_jobs

    ended: list[Outcome] = []
    screen = Progress(len(ids))
    report = Report(screen, Rows(), as_json=as_json, started=started, seen=ended.append if form else None)
    if wait:
        with screen:
            follow_jobs(pipeline, ids, report, screen)
        left = []
    else:
        found = {job: pipeline.outcome(job) for job in ids}
        report.ended([outcome for outcome in found.values() if outcome])
        left = [job for job, outcome in found.items() if not outcome]
    if kept := export_files([one.name for one in ended], form, out):
        kept.write(ended)
    if wait:
        report.close()
    if kept:
        say(kept.summary())
    for job in left:
        say(f"Job {job} has not ended yet: add --wait to wait for it.")
    raise typer.Exit(1 if left else report.exit_code)


def _results_of_group(
    group: "Group", since: str | None, form: Format, out: Out, started: float, *, wait: bool, as_json: bool
) -> NoReturn:
    from golem_chain.broker.cli.follow.progress import ENDED, Progress
    from golem_chain.broker.cli.follow.report import Report
    from golem_chain.broker.cli.follow.rows import Rows
    from golem_chain.broker.cli.follow.wait import follow_group
    from golem_chain.broker.jobs.groups import FIRST

    first = FIRST if since is None else since
    names: dict[str, None] = {}
    screen = Progress(group.status().jobs, (ENDED,))
    report = Report(
        screen, Rows(), as_json=as_json, started=started, since=first, with_cursor=True,
        seen=(lambda outcome: names.setdefault(outcome.name)) if form else None,
    )  # fmt: skip
    try:
        if wait:
            with screen:
                follow_group(group, report, screen)
        else:
            while ends := group.ends(report.cursor):
                report.ends(ends)
        status = group.status()
        # A second reading, because a file's path depends on the names of all.
        if kept := export_files(list(names), form, out):
            _write(kept, group, first, report.cursor)
    except (KeyboardInterrupt, BrokerAway) as exc:
        report.cursor = first if form else report.cursor  # no file was written
        if isinstance(exc, BrokerAway):
            raise BrokerAway(f"{exc.message.rstrip('.')}: go on with {report.go_on(group.name)}.") from None
        say(f"Stopped; the jobs continue: {report.go_on(group.name)}.")
        raise typer.Exit(130) from None
    report.close()
    if kept:
        say(kept.summary())
    left = status.jobs - status.ended
    if left and not wait:
        say(f"{left:,} of {status.jobs:,} jobs have not ended yet: {report.go_on(group.name)}.")
    raise typer.Exit(1 if left else report.exit_code)


def _write(kept: "Files", group: "Group", since: str, until: str) -> None:
    """Write the files of the ends after `since`, as far as they were shown."""
    while ends := group.ends(since):
        kept.write([end.outcome for end in ends if end.outcome and position(end.cursor) <= position(until)])
        since = ends[-1].cursor
        if position(since) >= position(until):
            return


def position(cursor: str) -> tuple[int, int]:
    """Return what orders two cursors: the milliseconds, and the number among ends of the same one."""
    milliseconds, _, number = cursor.partition("-")
    return int(milliseconds), int(number or 0)
