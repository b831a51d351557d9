"""Where words go: answers to stdout, everything else to stderr. Loads nothing until a table is drawn."""

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_PIPED = 120  # columns of a table that goes to a file or a pipe


def console(*, stderr: bool = True) -> "Console":
    """A console without markup, emoji codes or guesses at what a text means."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # `golem … | less` is read on a terminal too: rich finds its width (or COLUMNS).
    seen = sys.stdout.isatty() or sys.stderr.isatty() or "COLUMNS" in os.environ
    width = None if seen else WIDTH_PIPED
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def say(sentence: str) -> None:
    """One sentence on stderr, in one write."""
    sys.stderr.write(f"golem: {visible(sentence)}\n")
    sys.stderr.flush()


def line(record: dict[str, Any]) -> None:
    """One JSON object as one line on stdout. ASCII only, so that no text can break the line."""
    sys.stdout.write(json.dumps(record, separators=(",", ":")) + "\n")
    sys.stdout.flush()
