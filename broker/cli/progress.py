"""Progress bars of unfinished jobs, one per stage."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from golem_chain.broker.cli.console import console, say
from golem_chain.broker.queues import STAGES
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

VERBS = {"scribe": "heard", "interpreter": "understood", "oracle": "answered"}


def clock(seconds: float) -> str:
    """Format seconds as `5:03` or `1:05:03`."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Progress:
    """A live bar for each stage if stderr is a terminal, else nothing."""

    def __init__(self, total: int, stages: Sequence[str] = STAGES) -> None:
        self._total, self._stages = total, stages
        self._bars: Bars | None = None
        self._rows: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        screen = console()
        if screen.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bars = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=screen,
                transient=True,
            )
            self._rows = {s: self._bars.add_task(VERBS.get(s, s), total=self._total) for s in self._stages}
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    @property
    def live(self) -> bool:
        """Whether bars are shown."""
        return self._bars is not None

    def tell(self, sentence: str) -> None:
        """Print a sentence above the bars, or to stderr if there are none."""
        if self._bars:
            self._bars.console.print(f"golem: {visible(sentence)}")
        else:
            say(sentence)

    def show(self, done: dict[str, int], far: tuple[float, float] = (0.0, 0.0)) -> None:
        """Update the bars. `done`: jobs that finished each stage; `far`: transcribed and total seconds of audio."""
        if self._bars:
            for stage, row in self._rows.items():
                self._bars.update(row, completed=done.get(stage, 0))
            if (first := STAGES[0]) in self._rows:
                shown = f"{VERBS[first]} {clock(far[0])} of {clock(far[1])}" if far[1] else VERBS[first]
                self._bars.update(self._rows[first], description=shown)
