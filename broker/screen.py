"""What a person sees of jobs and of the system: live bars, the table of outcomes, the totals."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from golem_chain.broker.console import console, line, say
from golem_chain.broker.queues import STAGES
from golem_chain.shared.records import Outcome
from golem_chain.shared.sizes import format_bytes
from golem_chain.shared.text import storable, visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID
    from rich.table import Table
    from rich.text import Text

#: A wait shorter than this was no load, seconds.
LOAD_S = 0.002
VERBS = {"scribe": "heard", "interpreter": "understood", "oracle": "answered"}


def clock(seconds: float) -> str:
    """`5:03`, `1:05:03`."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def cells(outcome: Outcome) -> tuple[str, str, str, str, str]:
    """File, words, intent with its score, reply, seconds from submit to end: what the table says of one job."""
    seconds = sum(run.queued_s + run.load_s + run.compute_s for run in outcome.stages.values())
    words = outcome.transcript.text if outcome.transcript else ""
    if words and outcome.transcript and outcome.transcript.choice and outcome.transcript.choice.phrase == "unknown":
        words += " (unknown)"  # none of the vocabulary's phrases
    if outcome.state != "done":
        why = outcome.error.message if outcome.error else outcome.state
        return outcome.name, words, outcome.state, why, f"{seconds:.1f}" if outcome.stages else ""
    intent = f"{outcome.intent.label} {outcome.intent.score:.2f}" if outcome.intent else ""
    return outcome.name, words or "(silence)", intent, outcome.reply.text if outcome.reply else "–", f"{seconds:.1f}"


def table(outcomes: Sequence[Outcome], width: int) -> "Table":
    """The table at the end, in the order of the command line. Below 80 columns each job takes a few lines."""
    from rich.table import Table

    narrow = width < 80
    grid = Table(
        box=None if narrow else _box(),
        padding=(0, 1),
        pad_edge=False,
        expand=not narrow,
        show_header=not narrow,
        header_style="bold",
    )
    if narrow:
        grid.add_column("")
        for outcome in outcomes:
            file, words, intent, reply, seconds = cells(outcome)
            grid.add_row(_text(file, width - 10, "bold") + _text(f"  {seconds} s" if seconds else "", None, "dim"))
            if words:
                grid.add_row(_text(words))
            grid.add_row(_text(intent, None, _colour(outcome)) + _text(f"  {reply}"))
            grid.add_row("")
        return grid
    longest = [max((len(visible(cells(one)[place])) for one in outcomes), default=4) for place in range(5)]
    grid.add_column("file", width=min(longest[0], width // 4), no_wrap=True)
    grid.add_column("words", ratio=3)
    grid.add_column("intent", width=max(6, min(longest[2], width // 5)))
    grid.add_column("reply", ratio=4)
    grid.add_column("s", justify="right", no_wrap=True, min_width=4)
    for outcome in outcomes:
        file, words, intent, reply, seconds = cells(outcome)
        colour = _colour(outcome)
        dim = "dim" if words == "(silence)" else ""
        grid.add_row(
            _text(file, width // 4, "cyan"),
            _text(words, None, dim),
            _text(intent, None, colour),
            _text(reply, None, "red" if outcome.state == "failed" else ""),
            _text(seconds, None, "dim"),
        )
    return grid


def why(outcome: Outcome) -> str:
    """The sentence of a job that did not end well."""
    message = outcome.error.message if outcome.error else outcome.state
    return message if outcome.name in message else f"{outcome.name}: {message}"


def totals(outcomes: Sequence[Outcome], wall_s: float) -> str:
    """The line under the table: jobs, wall time, model loads, memory at its highest."""
    failed = sum(outcome.state != "done" for outcome in outcomes)
    runs = [(stage, run) for outcome in outcomes for stage, run in outcome.stages.items()]
    # The jobs of a batch share their load: one load is one (worker, stage, seconds). Finding it loaded takes 0.1 ms.
    loads = len({(run.worker, stage, run.load_s) for stage, run in runs if run.load_s > LOAD_S})
    peak = max((run.peak_bytes for _, run in runs), default=0)
    devices = ", ".join(sorted({run.device for _, run in runs}))
    parts = [
        _count(len(outcomes), "job") + (f" ({failed} not done)" if failed else ""),
        f"{wall_s:.1f} s",
        _count(loads, "model load"),
    ]
    if peak:
        parts.append(f"memory at most {format_bytes(peak)} on {devices}")
    return " · ".join(parts)


def outcomes(ended: Sequence[Outcome], *, as_json: bool) -> None:
    """Outcomes as JSON lines or as a table."""
    if as_json:
        for outcome in ended:
            line(outcome.model_dump(mode="json"))
    elif ended:
        out = console(stderr=False)
        out.print(table(ended, out.width))


def submitted(job: str, file: str, failed: Outcome | None, *, as_json: bool) -> None:
    """One job handed in: its id (with the file beside it on a terminal), or why it was not."""
    if failed:
        if as_json:
            line(failed.model_dump(mode="json"))
        say(why(failed))
    elif as_json:
        line({"job": job, "name": storable(file)})
    else:
        sys.stdout.write(f"{job}  {visible(file)}\n" if sys.stdout.isatty() else f"{job}\n")
        sys.stdout.flush()


class Progress:
    """Three live bars on a terminal; nothing at all where stderr is not one."""

    def __init__(self, total: int) -> None:
        self._total = total
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
            self._rows = {s: self._bars.add_task(VERBS.get(s, s), total=self._total) for s in STAGES}
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    @property
    def live(self) -> bool:
        """Whether there is anything to move."""
        return self._bars is not None

    def tell(self, sentence: str) -> None:
        """A sentence above the bars, or on stderr where there are none."""
        if self._bars:
            self._bars.console.print(f"golem: {visible(sentence)}")
        else:
            say(sentence)

    def show(self, done: dict[str, int], far: tuple[float, float] = (0.0, 0.0)) -> None:
        """Jobs that passed each stage; how `far` the Scribe is in long recordings: seconds heard, of how many."""
        if self._bars:
            for stage, row in self._rows.items():
                self._bars.update(row, completed=done.get(stage, 0))
            first = STAGES[0]
            shown = f"{VERBS[first]} {clock(far[0])} of {clock(far[1])}" if far[1] else VERBS[first]
            self._bars.update(self._rows[first], description=shown)


def _text(text: str, most: int | None = None, style: str | None = "") -> "Text":
    from rich.text import Text

    return Text(visible(text, most), style=style or "", overflow="fold")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _colour(outcome: Outcome) -> str:
    if outcome.state != "done":
        return "red"
    quiet = outcome.intent is None or outcome.intent.label in ("noise", "unknown")
    return "yellow" if quiet else "green"


def _box() -> Any:
    from rich import box

    return box.SIMPLE_HEAD
