"""`golem models prove`, and the proof at the end of `golem models pull`. Heavy imports are lazy."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from golem_chain.shared.errors import BadRequest, GolemError
from golem_chain.shared.settings import Settings
from golem_chain.workers.store import commands
from golem_chain.workers.store.catalog import STAGES
from golem_chain.workers.store.verdicts import NOT_ASKED

if TYPE_CHECKING:
    from golem_chain.workers.proof.session import Proved, Show

_PIPED = 160  # columns for a file or a pipe


@commands.app.command()
def prove(
    stage: Annotated[
        list[str] | None, typer.Option(metavar="STAGE", help="Prove only this stage; may be repeated.")
    ] = None,
    with_: Annotated[
        Path | None,
        typer.Option("--with", metavar="FOLDER", help="Compare these recordings and texts (.txt, .jsonl) too."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show which data types answer like float32 here.

    GOLEM_DTYPE=auto then runs the fastest of them. Exits with 1 if a stage could not be proved, or if GOLEM_DTYPE names
    a data type that failed."""
    if unknown := set(stage or ()) - set(STAGES):
        raise typer.BadParameter(f"unknown stage {min(unknown)}: the stages are {', '.join(STAGES)}")
    settings = Settings.read()
    try:
        found = _prove(settings, tuple(stage or STAGES), with_)
    except GolemError as exc:
        sys.stderr.write(exc.message + "\n")
        raise typer.Exit(2 if isinstance(exc, BadRequest) else 1) from None
    if as_json:
        for one in found:
            sys.stdout.write(json.dumps(_record(one)) + "\n")
    else:
        _print(found)
    if not all(one.sound for one in found):
        raise typer.Exit(1)


def after_pull(settings: Settings, stages: Sequence[str]) -> None:
    """Prove what was pulled and has no verdict that holds. What cannot be proved runs as it would without a proof, so
    that the pull succeeds anyway."""
    sys.stderr.write(
        "Proving which data types answer like float32 here (--no-proof leaves that to `golem models prove`)\n"
    )
    try:
        found = _prove(settings, stages, None, again=False)
    except GolemError as exc:
        sys.stderr.write(exc.message + "\n")
        return
    _print(found)


commands.after_pull = after_pull


def _prove(settings: Settings, stages: Sequence[str], folder: Path | None, *, again: bool = True) -> "list[Proved]":
    from golem_chain.workers.proof.session import prove as run

    with _bars() as show:
        return run(settings, stages, show, folder, again=again)


@contextmanager
def _bars() -> "Iterator[Show]":
    """Show a progress bar for each stage if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def show(stage: str) -> Callable[[int, int], None]:
            task = bars.add_task(stage, total=None)
            return lambda done, count: bars.update(task, completed=done, total=max(done, count))

        yield show


def _record(one: "Proved") -> dict[str, object]:
    told: dict[str, object] = {"stage": one.stage, "sound": one.sound, "runs": one.runs, "error": one.error or None}
    if one.checkpoint and one.verdict:
        told |= {"model": one.checkpoint.id, "kept": one.kept, **asdict(one.verdict)}
    return told


def _print(found: "Sequence[Proved]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "model", "data type", "speed", "proof", "found")
    for column in (0, 2, 3, 4):
        table.columns[column].no_wrap = True
    for one in found:
        if one.verdict is None or one.checkpoint is None:
            table.add_row(one.stage, "", "", "", "none", one.error)
            continue
        for tried in one.verdict.tried:
            speed = "–" if tried.speed is None else f"{tried.speed:.2f} ×"
            runs = " (runs)" if tried.form == one.runs else ""
            proof = "passed" if tried.passed else "failed" if tried.figures or tried.why != NOT_ASKED else "–"
            reference = tried.form == "float32" and tried.passed
            told = "the reference" if reference else tried.why or _figures(tried.figures)
            model = f"{one.checkpoint.id}"
            table.add_row(one.stage, model, tried.form + runs, speed, "" if reference else proof, told)
    console = Console(width=None if sys.stdout.isatty() else _PIPED)
    console.print(table)
    for one in found:
        if not one.kept:
            told = f"The verdict on the {one.stage} could not be kept: make {one.checkpoint and one.checkpoint.folder} "
            sys.stderr.write(told + "writable, or set GOLEM_STORE to a folder that is.\n")


def _figures(figures: Mapping[str, float]) -> str:
    """`1,672 tokens, mean KL 0.00102`"""
    return ", ".join(
        f"{value:,.0f} {name}" if value == int(value) and value >= 0 and name not in _SHARES else f"{name} {value:.4g}"
        for name, value in figures.items()
    )


_SHARES = frozenset({"word error rate", "mean KL", "top-1 agreement", "largest score difference"})
