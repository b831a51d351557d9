"""The jobs of one command, and where they run: in a system of our own or in the running one."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import typer

from golem_chain.broker.cli.console import interrupted, line, say
from golem_chain.broker.cli.follow.progress import Progress
from golem_chain.broker.cli.follow.report import Report, counted, why
from golem_chain.broker.cli.follow.rows import Rows
from golem_chain.broker.cli.follow.wait import Following
from golem_chain.broker.jobs.groups import FIRST
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.submission import AT_ONCE, Asked, Request, Submitted
from golem_chain.shared.errors import BadAudio, BadRequest, GolemError, GroupCancelled
from golem_chain.shared.records import Failure, JobOptions, Outcome
from golem_chain.shared.settings import Settings
from golem_chain.shared.text import storable, visible

if TYPE_CHECKING:
    from golem_chain.broker.cli.arguments.texts import Named
    from golem_chain.broker.cli.export import Files


class Order(NamedTuple):
    """The jobs of one command."""

    names: Sequence[str]  # one for each job
    asked: Iterable[Asked]  # likewise; read as the jobs are submitted
    options: JobOptions
    stages: Sequence[str]  # that may run for them
    files: Sequence[str] = ()  # the audio that a worker of our own may read
    id: str | None = None  # of a single job; else random
    id_from_content: bool = False
    kept: "Files | None" = None
    as_json: bool = False


def of_files(files: Sequence[str], options: JobOptions, stages: Sequence[str]) -> Order:
    """Return the jobs of audio files."""
    return Order(files, (Asked(Path(file)) for file in files), options, stages, files)


def of_texts(texts: "Sequence[Named]", intent: str | None, options: JobOptions, stages: Sequence[str]) -> Order:
    """Return the jobs of texts."""
    return Order([one.name for one in texts], (Asked(None, one.text, intent) for one in texts), options, stages)


class Submission:
    """Submits the jobs of an order, and counts them."""

    def __init__(self, pipeline: Pipeline, order: Order, options: JobOptions) -> None:
        self._pipeline, self._order, self._options = pipeline, order, options
        self._given_up: GolemError | None = None
        self.count = 0  # submitted so far
        self.tried = 0

    @property
    def left(self) -> int:
        """How many jobs have not been tried yet."""
        return len(self._order.names) - self.tried

    def run(self, look: Callable[[], None] = lambda: None) -> Iterator[tuple[str, Submitted]]:
        """Yield the name of each job, and its id or why it was not submitted. `look` is called in between, when all
        that were submitted have been yielded.

        What is wrong with one job is its error. Raises what concerns all: GroupCancelled, VaultFull, BrokerAway, and
        BadRequest if every job is refused.
        """
        refused: list[tuple[str, Submitted]] = []  # as long as no job was submitted
        for name, one in zip(self._order.names, self._submitted(look), strict=False):
            self.tried += 1
            if one.error is None:
                self.count += 1
                yield from refused
                refused.clear()
            elif isinstance(one.error, BadRequest) and not self.count:
                refused.append((name, one))
                if len(refused) >= AT_ONCE:
                    self._given_up = refused[0][1].error
                continue
            elif not isinstance(one.error, BadAudio | BadRequest):
                self._given_up = self._given_up or one.error
                continue
            yield name, one
        if refused:
            self._given_up = self._given_up or refused[0][1].error
        if isinstance(self._given_up, GroupCancelled):
            raise GroupCancelled(f"The group {self._options.group} was cancelled: {self.told()} before.")
        if self._given_up:
            raise self._given_up

    def _submitted(self, look: Callable[[], None]) -> Iterator[Submitted]:
        def requests() -> Iterator[Request]:
            for name, asked in zip(self._order.names, self._order.asked, strict=True):
                look()
                if self._given_up:  # those of the same round trip are still told
                    return
                id = None if self._order.id_from_content else self._order.id or uuid.uuid4().hex
                yield Request(asked, id, storable(name))

        return self._pipeline.stream_many(requests(), self._options)

    def told(self) -> str:
        """Return how many were submitted, as a clause."""
        whole = len(self._order.names)
        if not self.count:
            return "no job was submitted"
        if self.count == whole:
            return "the job was submitted" if whole == 1 else f"all {whole:,} jobs were submitted"
        return f"{self.count:,} of {counted(whole, 'job')} {'was' if self.count == 1 else 'were'} submitted"

    def cut_short(self, exc: GolemError, go_on: str = "") -> GolemError:
        """Return the error that ended the command, with what becomes of the jobs that were submitted."""
        return type(exc)(f"{exc.message.rstrip('.')}; {self.told()} and will finish{go_on and f': {go_on}'}.")


def wherever(order: Order, started: float) -> NoReturn:
    """Use the running system if there is a setting for it, else one of our own."""
    if Settings.read().names_a_server:
        together(order, started, wait=True)
    alone(order, started)


def alone(order: Order, started: float) -> NoReturn:
    """Process the jobs with a system of our own and exit."""
    from golem_chain.broker.local import system

    with interrupted("Interrupted: the temporary server and worker have stopped."):
        system.pull_missing(order.stages)
        with system.private_system(order.files, order.stages) as own, Pipeline(own.settings) as pipeline:
            options = _grouped(order.options)
            report = _processed(pipeline, order, Submission(pipeline, order, options), options, started, own.check)
        raise typer.Exit(report.close())


def together(order: Order, started: float, *, wait: bool) -> NoReturn:
    """Submit the jobs to the running system, print their ids or wait for them, and exit."""
    with Pipeline(Settings.read()) as pipeline:
        if not wait:
            _hand_in(pipeline, order)
        options = _grouped(order.options)
        submission = Submission(pipeline, order, options)
        report = _processed(pipeline, order, submission, options, started)
    raise typer.Exit(report.close())


def _grouped(options: JobOptions) -> JobOptions:
    """Return options under which the server counts the jobs of this command."""
    return options if options.group else options.model_copy(update={"group": uuid.uuid4().hex})


def _processed(
    pipeline: Pipeline,
    order: Order,
    submission: Submission,
    options: JobOptions,
    started: float,
    check: Callable[[], None] | None = None,
) -> Report:
    """Submit the jobs, wait for them, and show each end at once. `check`: of a system of our own."""
    group = pipeline.group(options.group or "")
    since = FIRST if order.options.group is None else group.now()
    with Progress(len(order.names), order.stages) as screen:
        rows = Rows(order.stages[-1], order.names)
        report = Report(screen, rows, order.kept, as_json=order.as_json, started=started, since=since)
        following = Following(pipeline, group, report, screen, check or (lambda: None))
        try:
            for name, one in submission.run(lambda: following.look(submission.left)):
                if one.error:
                    report.ended([refused(name, one)])
                else:
                    following.submitted(name, one)
            following.wait()
        except KeyboardInterrupt:
            if check:
                raise
            screen.tell(f"Stopped waiting; {submission.told()} and will finish: {following.go_on}.")
            raise typer.Exit(130) from None
        except GolemError as exc:
            if check or not submission.count or isinstance(exc, GroupCancelled) or following.lost:
                raise
            raise submission.cut_short(exc, following.go_on) from None
    return report


def _hand_in(pipeline: Pipeline, order: Order) -> NoReturn:
    """Submit the jobs, print their ids as they are submitted, and exit."""
    submission, failed = Submission(pipeline, order, order.options), False
    try:
        for name, one in submission.run():
            failed = failed or one.error is not None
            submitted(name, one, as_json=order.as_json)
    except KeyboardInterrupt:
        say(f"Interrupted; {submission.told()} and will finish.")
        raise typer.Exit(130) from None
    except GolemError as exc:
        if not submission.count or isinstance(exc, GroupCancelled):
            raise
        raise submission.cut_short(exc) from None
    raise typer.Exit(int(failed))


def refused(name: str, one: Submitted) -> Outcome:
    """Return the Outcome of a job that could not be submitted."""
    error = one.error or GolemError("The job was not submitted.")
    failure = Failure(code=error.code, message=error.message)
    job = one.id or uuid.uuid4().hex  # an id from content may be missing
    return Outcome(job=job, name=storable(name), state="failed", error=failure)


def submitted(name: str, one: Submitted, *, as_json: bool) -> None:
    """Print the id of a submitted job (on a terminal with its name), or why it was not submitted."""
    import sys

    if one.error:
        failed = refused(name, one)
        if as_json:
            line(failed.model_dump(mode="json"))
        say(why(failed))
    elif as_json:
        line({"job": one.id, "name": storable(name)})
    else:
        sys.stdout.write(f"{one.id}  {visible(name)}\n" if sys.stdout.isatty() else f"{one.id}\n")
        sys.stdout.flush()
