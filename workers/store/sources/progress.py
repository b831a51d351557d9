"""Progress output of a pull: bars on a terminal, plain lines elsewhere, all on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


class Bar(Protocol):
    """Called with the progress of a step in bytes; `total` is 0 if unknown."""

    def __call__(self, done: int, total: int) -> None: ...


def _nothing(done: int, total: int) -> None:  # noqa: ARG001 - the bar used without a terminal
    return


class Show:
    """Prints lines and progress bars, or nothing if `quiet`."""

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr, highlight=False, quiet=quiet)

    def say(self, line: str) -> None:
        """Print one line."""
        self._console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, line: str) -> Iterator[Bar]:
        """Show a slow step: a progress bar on a terminal, a plain line elsewhere."""
        if not self._console.is_terminal or self._console.quiet:
            self.say(line)
            yield _nothing
            return
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(line, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total or None)
