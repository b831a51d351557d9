"""The screen of a command that waits: bars of unfinished jobs, and above them what has ended.

Results go to stdout and sentences to stderr, as without bars. The bars are on stdout if it is a terminal, so that rows
scroll above them, else on stderr. There are none if stdout is a pipe: its reader may print on the same terminal.
"""

import json
import os
import stat
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from golem_chain.broker.cli.console import console, line, say
from golem_chain.broker.queues import STAGES
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

#: The bar of jobs whose stages are not known.
ENDED = "ended"
VERBS = {"scribe": "heard", "interpreter": "understood", "oracle": "answered"}


def clock(seconds: float) -> str:
    """Format seconds as `5:03` or `1:05:03`."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _is_pipe(file: IO[str]) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
    except (OSError, ValueError):  # not a file of the system
        return False


class Progress:
    """A bar for each stage, within `with` and on a terminal; else only what is printed."""

    def __init__(self, total: int, stages: Sequence[str] = STAGES) -> None:
        self._total, self._stages = total, stages
        self._out, self._err = console(stderr=False), console()
        self._bars: Bars | None = None
        self._rows: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if self._out.is_terminal:
            self._bars = self._started(self._out)
        elif self._err.is_terminal and not _is_pipe(self._out.file):
            self._bars = self._started(self._err)
        return self

    def _started(self, screen: "Console") -> "Bars":
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=screen,
            transient=True,
            redirect_stdout=False,  # rich would send it to the terminal of the bars, even if it is a file
            redirect_stderr=False,
        )
        self._rows = {stage: bars.add_task(VERBS.get(stage, stage), total=self._total) for stage in self._stages}
        bars.start()
        return bars

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None

    @property
    def live(self) -> bool:
        """Whether bars are shown."""
        return self._bars is not None

    @property
    def width(self) -> int:
        """The columns of what is printed to stdout."""
        return self._out.width

    def print(self, shown: "RenderableType") -> None:
        """Print to stdout, above the bars."""
        self._out.print(shown)

    def line(self, record: JsonObject) -> None:
        """Print one JSON object as one line to stdout, above the bars."""
        if self._bars and self._bars.console is self._out:
            self._out.out(json.dumps(record, separators=(",", ":")), highlight=False)
        else:
            line(record)

    def tell(self, sentence: str) -> None:
        """Print a sentence to stderr, above the bars."""
        if self._bars and self._err.is_terminal:
            self._bars.console.out(f"golem: {visible(sentence)}", highlight=False)
        else:
            say(sentence)

    def show(self, done: Mapping[str, int], far: tuple[float, float] = (0.0, 0.0), total: int | None = None) -> None:
        """Update the bars. `done`: jobs that finished each stage; `far`: transcribed and total seconds of audio."""
        if self._bars:
            for stage, row in self._rows.items():
                self._bars.update(row, completed=done.get(stage, 0), total=total)
            if (first := STAGES[0]) in self._rows:
                shown = f"{VERBS[first]} {clock(far[0])} of {clock(far[1])}" if far[1] else VERBS[first]
                self._bars.update(self._rows[first], description=shown)
