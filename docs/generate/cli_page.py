"""Writes docs/cli.md from the commands themselves, so that the page says what `--help` says.

usage: make docs
"""

import inspect
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

TARGET = Path(__file__).parents[1] / "cli.md"
WIDTH = 120
HEAD = """# Command line

Every command explains itself with `-h` or `--help`. This page is written by `make docs` from the same texts.

Answers go to standard output, everything else to standard error. With `--json`, an answer is one JSON object per line.
Exit codes: 0 all jobs done, 1 a job or the command failed, 2 wrong usage, 130 interrupted by Ctrl-C. An error is one
sentence; `GOLEM_DEBUG=1` adds the traceback. Settings are environment variables: [settings.md](settings.md).

`golem --install-completion` sets up completion for bash, zsh, fish or PowerShell. It completes commands, their options
and choices. `models`, `eval`, `bench` and `worker` are programs of their own: of the first three it completes the
subcommands, not the options, and of `worker` nothing.
"""

#: A command of click's, as typer builds it. Which of the two packages defines its class depends on typer's version.
Command = Any


def golem() -> Command:
    """The whole command line: `golem`, with the other programs' commands in the place of those that start them."""
    from golem_chain.benchmarks.__main__ import app as benchmarks
    from golem_chain.broker.cli.main import app
    from golem_chain.workers.__main__ import app as workers

    whole: Command = typer.main.get_command(app)
    others: Command = typer.main.get_command(workers)
    whole.commands |= {name: command for name, command in others.commands.items() if not command.hidden}
    whole.commands["bench"] = typer.main.get_command(benchmarks)
    return whole


def walk(command: Command, context: typer.Context) -> Iterator[tuple[Command, typer.Context]]:
    """A command and all below it, each with the context that its help is shown in."""
    yield command, context
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from walk(below, typer.Context(below, info_name=name, parent=context))


def section(command: Command, context: typer.Context) -> str:
    """Heading, usage, description and tables of one command."""
    name = context.command_path
    usage = " ".join((name, *command.collect_usage_pieces(context)))
    parts = [f"{'###' if name.count(' ') > 1 else '##'} {name}", f"```\n{usage}\n```"]
    parts += [textwrap.fill(text, WIDTH) for text in inspect.cleandoc(command.help or "").split("\n\n")]
    below = [one for one in getattr(command, "commands", {}).values() if not one.hidden]
    linked = [(f"[`{one.name}`](#{f'{name} {one.name}'.replace(' ', '-')})", short(one)) for one in below]
    parts += table(("command", "meaning"), linked)
    for kind in ("argument", "option"):
        wanted = [one for one in command.get_params(context) if one.param_type_name == kind and one.name != "help"]
        parts += table((kind, "meaning", "default"), filter(None, (row(one, context) for one in wanted)))
    return "\n\n".join(parts) + "\n"


def short(command: Command) -> str:
    """The first sentence of a command's help."""
    return str(command.get_short_help_str(limit=1000))


def row(parameter: Any, context: typer.Context) -> tuple[str, str, str] | None:
    """Name with its value, meaning with its bounds, and default of a parameter; None for a hidden one.

    All of it is read from what `--help` prints: `-o, --out FILE`, `The image file.  [default: timeline.png; x>=1]`.
    """
    record = parameter.get_help_record(context)
    if record is None:
        return None
    name, text = record
    if parameter.param_type_name == "argument":
        name = name.partition(" <")[0]  # the type says nothing that the meaning does not
    meaning, _, notes = text.removesuffix("]").partition("  [")
    default = "–"
    for note in notes.split("; ") if notes else ():
        if note.startswith("default: "):
            default = f"`{note.removeprefix('default: ')}`"
        elif note == "required":
            default = "required"
        else:
            meaning = f"{meaning} (`{note}`)"
    return f"`{name}`", meaning, default


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """A Markdown table, or nothing where there are no rows."""
    lines = [" | ".join(cell.replace("|", "\\|") for cell in cells) for cells in rows]
    if not lines:
        return []
    return ["\n".join((f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {line} |" for line in lines)))]


def page() -> str:
    """The whole text of docs/cli.md."""
    root = golem()
    return "\n".join((HEAD, *(section(*one) for one in walk(root, typer.Context(root, info_name="golem")))))


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
