"""Output: results to stdout, everything else to stderr. rich is imported only when a table is printed."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_PIPED = 120  # columns of a table in a file or a pipe


def console(*, stderr: bool = True) -> "Console":
    """Return a rich console without markup, emoji codes and highlighting."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # `golem … | less` is also shown on a terminal: rich finds its width (or COLUMNS).
    seen = sys.stdout.isatty() or sys.stderr.isatty() or "COLUMNS" in os.environ
    width = None if seen else WIDTH_PIPED
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def say(sentence: str) -> None:
    """Print one sentence to stderr in one write."""
    sys.stderr.write(f"golem: {visible(sentence)}\n")
    sys.stderr.flush()


def line(record: JsonObject) -> None:
    """Print one JSON object as one line to stdout; ASCII only, so that no text can break the line."""
    sys.stdout.write(json.dumps(record, separators=(",", ":")) + "\n")
    sys.stdout.flush()


@contextmanager
def interrupted(sentence: str) -> Iterator[None]:
    """Make Ctrl-C exit with a sentence and the shell's exit code for it."""
    try:
        yield
    except KeyboardInterrupt:
        say(sentence)
        raise typer.Exit(130) from None
