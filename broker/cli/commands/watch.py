"""`golem watch`: the folder's options, where its jobs run, and what is said about them."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from golem_chain.broker.cli.arguments.options import Json, takes_job_options
from golem_chain.broker.cli.console import line, say
from golem_chain.shared.errors import BadRequest, GolemError
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.broker.watching.watcher import Watcher
    from golem_chain.shared.records import JobOptions, Outcome

#: An enumeration, because typer takes no list of literals.
Form = StrEnum("Form", ["txt", "json", "srt", "vtt", "tsv"])
#: With --once, how long a full disk or vault may hold up the work before the command gives up.
PATIENCE_S = 30.0


@takes_job_options
def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to watch, with all below it.")],
    options: Callable[[], "JobOptions"],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Folder for the results, in a tree like theirs; created if missing."
        ),
    ] = None,
    forms: Annotated[
        list[Form] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="<txt|json|srt|vtt|tsv>",
            help="Write a file per recording; repeatable.",
            show_default="txt",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Process what is there, then end.")] = False,
    settle_s: Annotated[
        float,
        typer.Option(
            "--settle", metavar="SECONDS", min=0.1, max=3600, help="A file is whole if it has not changed for so long."
        ),
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """Process the recordings of a folder as they arrive.

    Results are written beside the audio, or to --out. With GOLEM_REDIS_URL set, the running system does the work, else
    one of our own. Only the Scribe runs, unless --stop or --format json asks for more.
    """
    from golem_chain.broker.watching import changes as listening
    from golem_chain.broker.watching.journal import Journal
    from golem_chain.broker.watching.mounts import must_poll
    from golem_chain.broker.watching.results import Results
    from golem_chain.broker.watching.tree import Tree
    from golem_chain.broker.watching.watcher import Task, Watcher

    wanted = tuple(dict.fromkeys(map(str, forms or ("txt",))))
    asked = _checked(options(), wanted)
    tree = Tree(folder, out, say)
    if not once:
        listening.need_watchfiles()
    results = Results(out or tree.root, shown=out or folder, create=out is not None)
    journal = Journal(results.folder)
    task = Task(asked, _digest(asked), wanted)
    changes = None if once else listening.Changes(tree.root, poll=must_poll(tree.root))
    watcher = Watcher(tree, results, journal, task, _Told(as_json), settle_s=settle_s, changes=changes)
    watcher.begin()
    watcher.end()
    _greet(watcher, folder, results.shown, once=once)
    try:
        if not (once and watcher.idle):
            with _system(tree.root, asked) as (pipeline, check):
                watcher.join(pipeline, check)
                _process(watcher, once=once)
    except KeyboardInterrupt:
        say(_left(watcher))
        raise typer.Exit(130) from None
    finally:
        if changes:
            changes.close()
    say(_summary(watcher, results.shown / journal.failures.name))
    raise typer.Exit(1 if watcher.failed else 0)


def _process(watcher: "Watcher", *, once: bool) -> None:
    """Watch until Ctrl-C, or until all is done. Raises GolemError if that cannot be."""
    try:
        while not (once and watcher.idle):
            watcher.turn()
            if once and watcher.held_up_s > PATIENCE_S:
                raise GolemError(_left(watcher))
    finally:
        watcher.end()


class _Told:
    """Prints the results to stdout, one path or one Outcome a line, and everything else to stderr."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def render(self, outcome: "Outcome", form: str) -> str:
        from golem_chain.broker.jobs.subtitles import render

        return render(outcome, form)

    def tell(self, sentence: str) -> None:
        say(sentence)

    def done(self, outcome: "Outcome", paths: Sequence[str]) -> None:
        if self._as_json:
            line(outcome.model_dump(mode="json"))
        else:
            sys.stdout.write("".join(f"{visible(path)}\n" for path in paths))
            sys.stdout.flush()


def _checked(options: "JobOptions", forms: Sequence[str]) -> "JobOptions":
    """Return the options of every job. Raises BadRequest, BadLabels, BadVocabulary for what no job could use."""
    from golem_chain.broker.submission import check_options
    from golem_chain.shared.records import OracleParams

    spoken = options.vocabulary
    if options.stop is None and "json" not in forms:
        if options.labels and not (spoken and spoken.from_labels):
            raise BadRequest("--labels finds intents, which --format json shows: add it, or leave the labels out.")
        if options.oracle != OracleParams():
            raise BadRequest(
                "The parameters of the reply have no effect without --format json: add it, or leave them out."
            )
        options = options.model_copy(update={"stop": "scribe"})
    check_options(options)
    return options


def _digest(options: "JobOptions") -> str:
    """Return what the journal keeps of the options: files are processed again if it differs."""
    return hashlib.sha256(json.dumps(options.wire(), sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _system(root: Path, options: "JobOptions") -> Iterator[tuple["Pipeline", Callable[[], None] | None]]:
    """The running system if there is a setting for it, else one of our own with the check of its worker."""
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.records import stages_between
    from golem_chain.shared.settings import Settings

    settings = Settings.read()
    if settings.names_a_server:
        from golem_chain.broker.connection import check_broker

        check_broker(settings)
        with Pipeline(settings) as pipeline:
            yield pipeline, None
        return
    from golem_chain.broker.local import system

    stages = stages_between("scribe", options.stop)
    system.pull_missing(stages)
    with (
        system.private_system([str(root / "any")], stages) as own,  # any file in the folder: the worker may read it
        Pipeline(own.settings) as pipeline,
    ):
        yield pipeline, own.check


# -- sentences


def _greet(watcher: "Watcher", folder: Path, shown: Path, *, once: bool) -> None:
    new, kept = watcher.waiting, watcher.kept
    there = f"{_files(new)} to process" + (f", {kept:,} done before" if kept else "")
    if once:
        say(f"{visible(str(folder), 200)}: {there}.")
    else:
        say(
            f"Watching {visible(str(folder), 200)} ({there}); results go to {visible(str(shown), 200)}. Ctrl-C ends it."
        )


def _left(watcher: "Watcher") -> str:
    """The sentence for a watch that ends before its work does."""
    parts = [
        f"{_files(watcher.running)} running" if watcher.running else "",
        f"{_files(watcher.unwritten)} with unwritten results" if watcher.unwritten else "",
        f"{_files(watcher.waiting)} waiting" if watcher.waiting else "",
    ]
    left = ", ".join(part for part in parts if part)
    if not left:
        return f"Stopped: {_files(watcher.done)} done, and nothing is left to do."
    goes_on = "The jobs go on: run" if watcher.running and not watcher.owns_system else "Run"
    return f"Stopped: {_files(watcher.done)} done, {left}. {goes_on} the same command again to go on."


def _summary(watcher: "Watcher", failures: Path) -> str:
    parts = [f"{_files(watcher.done)} done"]
    if watcher.failed:
        parts.append(f"{watcher.failed:,} failed (see {visible(str(failures), 200)})")
    if watcher.kept:
        parts.append(f"{watcher.kept:,} done before")
    if watcher.waiting:
        parts.append(f"{watcher.waiting:,} empty or still growing, and left for the next time")
    return ", ".join(parts) + "."


def _files(number: int) -> str:
    return f"{number:,} file{'' if number == 1 else 's'}"
