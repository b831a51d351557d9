"""The commands `golem dead …`. The actions are in `broker.jobs.dead_letters`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from golem_chain.shared.errors import BadRequest

if TYPE_CHECKING:
    from golem_chain.broker.jobs.dead_letters import Letters
    from golem_chain.broker.transport.dead_letter import Letter

app = typer.Typer(help="Manage dead letters: list, show, retry, drop.", no_args_is_help=True, rich_markup_mode=None)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="LETTER|JOB", help="Ids as printed by golem dead list.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All letters; retry takes those that belong to a job.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line on stdout.")]


@app.command("list")
def list_(
    most: Annotated[int, typer.Option("--most", min=1, metavar="N", help="Show the newest N.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first."""
    from golem_chain.broker.cli.console import console, line, say

    with _letters() as letters:
        found = letters.all(most)
    if as_json:
        for one in found:
            line(one.summary())
    elif found:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        from golem_chain.shared.text import visible

        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for column in ("letter", "job", "queue", "worker", "age", "why"):
            grid.add_column(column, overflow="fold")
        for one in found:
            told = one.summary()
            age = "–" if told["at"] is None else f"{max(0.0, time.time() - told['at']):.0f} s"
            why = f"{told['why']}: {told['error']}" if told["error"] else told["why"]
            cells = [told["letter"], told["job"] or "(no job)", told["queue"], told["box"] or "–", age, why]
            grid.add_row(*(Text(visible(cell)) for cell in cells))
        console(stderr=False).print(grid)
    else:
        say("There are no dead letters.")


@app.command()
def show(names: Names = None, all_: All = False, as_json: Json = False) -> None:
    """Show the details of dead letters and how their messages begin."""
    from golem_chain.broker.cli.console import console, line

    with _letters() as letters:
        chosen = _chosen(letters, names, all_=all_)
    for one in chosen:
        told = one.shown()
        if as_json:
            line(told)
        else:
            text = "".join(f"{key:<11} {'–' if value is None else value}\n" for key, value in told.items())
            console(stderr=False).print(text, soft_wrap=True)


@app.command()
def retry(names: Names = None, all_: All = False, as_json: Json = False) -> None:
    """Run the jobs of dead letters again from the stage that failed."""
    from golem_chain.broker.cli.console import line, say

    failed = 0
    with _letters() as letters:
        for one in _chosen(letters, names, all_=all_):
            if all_ and one.job is None:
                continue
            try:
                job = letters.retry(one)
            except BadRequest as exc:
                failed += 1
                say(exc.message)
                continue
            if as_json:
                line({"letter": one.id, "job": job, "retried": True})
            else:
                say(f"Job {job} is queued again: golem results {job} --wait.")
    raise typer.Exit(1 if failed else 0)


@app.command()
def drop(names: Names = None, all_: All = False, as_json: Json = False) -> None:
    """Delete dead letters. The outcomes of their jobs stay."""
    from golem_chain.broker.cli.console import line, say

    with _letters() as letters:
        chosen = _chosen(letters, names, all_=all_)
        dropped = [one for one in chosen if letters.drop(one)]
    if as_json:
        for one in dropped:
            line({"letter": one.id, "job": one.job, "dropped": True})
    else:
        say(f"{len(dropped)} {'letter' if len(dropped) == 1 else 'letters'} deleted.")


@contextmanager
def _letters() -> Iterator["Letters"]:
    from golem_chain.broker.connection import connect, reaching
    from golem_chain.broker.jobs.dead_letters import Letters
    from golem_chain.broker.keys import Keys
    from golem_chain.shared.settings import Settings

    settings = Settings.read()
    with reaching(settings), connect(settings) as client:
        yield Letters(client, Keys(settings.prefix))


def _chosen(letters: "Letters", names: list[str] | None, *, all_: bool) -> list["Letter"]:
    if bool(names) == all_:
        raise BadRequest("Give letters or jobs as listed by golem dead list, or --all.")
    return letters.all() if all_ else letters.find(names or [])
