"""What a pull tells the person who waits: moving bars on a terminal, plain lines elsewhere. All of it on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


class Bar(Protocol):
    """Told how far a step is, bytes; `total` 0 where that is not known."""

    def __call__(self, done: int, total: int) -> None: ...


def _nothing(done: int, total: int) -> None:  # noqa: ARG001 - a bar where there is no terminal
    return


class Show:
    """Lines and bars. `quiet` says nothing."""

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr, highlight=False, quiet=quiet)

    def say(self, line: str) -> None:
        """One line."""
        self._console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, line: str) -> Iterator[Bar]:
        """A step that takes a while: a bar on a terminal, its line elsewhere."""
        if not self._console.is_terminal or self._console.quiet:
            self.say(line)
            yield _nothing
            return
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(line, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total or None)
