"""The rows of ended jobs. They are printed as jobs end, so the columns are chosen before all rows are known."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from golem_chain.shared.records import Outcome
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

#: Below this width each job takes several lines instead of a row.
NARROW = 80
COLOURS = {"failed": "red", "expired": "magenta", "cancelled": "yellow"}
#: The fewest columns of a name, and of an intent with its score.
_NAME, _INTENT = 8, 14


class Row(NamedTuple):
    """What is shown of a job."""

    file: str
    words: str
    intent: str  # with its score
    reply: str
    wait: str  # seconds
    run: str  # seconds


def row_of(outcome: Outcome) -> Row:
    """Return a job's row. A job that is not done has its state and the reason in the places of intent and reply.

    The seconds are those of the job's stages: `wait` in queues, `run` in loads and batches. A batch counts in full for
    each of its jobs.
    """
    runs = outcome.stages.values()
    wait = f"{sum(run.queued_s for run in runs):.1f}" if runs else ""
    took = f"{sum(run.load_s + run.compute_s for run in runs):.1f}" if runs else ""
    words = outcome.transcript.text if outcome.transcript else ""
    if words and outcome.transcript and outcome.transcript.choice and outcome.transcript.choice.phrase == "unknown":
        words += " (unknown)"  # no phrase of the vocabulary
    if outcome.state != "done":
        reason = outcome.error.message if outcome.error else outcome.state
        return Row(outcome.name, words, outcome.state, reason, wait, took)
    intent = f"{outcome.intent.label} {outcome.intent.score:.2f}" if outcome.intent else ""
    none = "–" if outcome.intent and outcome.intent.method == "silence" else ""  # a reply that was not wanted
    reply = outcome.reply.text if outcome.reply else none
    return Row(outcome.name, words or "(silence)", intent, reply, wait, took)


class Rows:
    """The rows of one command. A header precedes the first, and is repeated when the columns change.

    `last` is the last stage that runs, None if it is not known: the columns of intent and reply are then added when a
    job has one. `names`: what the jobs are called, as far as it is known.
    """

    def __init__(self, last: str | None = None, names: Iterable[str] = ()) -> None:
        from rich.cells import cell_len

        wanted = {None: (), "scribe": (), "interpreter": ("intent",)}.get(last, ("intent", "reply"))
        self._optional = set[str](wanted)
        self._longest = max((cell_len(visible(name)) for name in names), default=0)
        self._headed: list[tuple[str, int]] = []

    def of(self, ended: Sequence[Outcome], width: int) -> "Iterator[RenderableType]":
        """Yield what is to be printed for jobs that have ended, on a screen of `width` columns."""
        if width < NARROW:
            yield _blocks(ended, width)
            return
        from rich.cells import cell_len
        from rich.text import Text

        rows = [row_of(one) for one in ended]
        for row in (row for row, one in zip(rows, ended, strict=True) if one.state == "done"):
            self._optional |= {name for name in ("intent", "reply") if getattr(row, name)}
        if not self._longest:
            self._longest = max((cell_len(visible(row.file)) for row in rows), default=0)
        columns = self._columns(width)
        if columns != self._headed:
            head = _grid(columns)
            titles = {"wait": "wait s", "run": "run s"}
            head.add_row(*(Text(titles.get(name, name), style="bold") for name, _ in columns))
            yield head
            yield Text("─" * width, style="dim")
            self._headed = columns
        grid = _grid(columns)
        for row, one in zip(rows, ended, strict=True):
            cells = self._cells(row, one, dict(columns))
            grid.add_row(*(cells[name] for name, _ in columns))
        yield grid

    def _columns(self, width: int) -> list[tuple[str, int]]:
        """Return the columns and their widths; words and replies share what the others leave, 3 to 4."""
        fixed = {"file": max(_NAME, min(self._longest, width // 4)), "wait": 6, "run": 6}
        if "intent" in self._optional:
            fixed["intent"] = min(max(_INTENT, width // 7), 24)
        shared = ["words", *(["reply"] if "reply" in self._optional else [])]
        left = width - sum(fixed.values()) - 2 * (len(fixed) + len(shared) - 1)
        words = left * 3 // 7 if len(shared) == 2 else left
        widths = fixed | {"words": words, "reply": left - words}
        return [(name, widths[name]) for name in Row._fields if name in fixed or name in shared]

    @staticmethod
    def _cells(row: Row, outcome: Outcome, widths: dict[str, int]) -> "dict[str, Text]":
        colour = _colour(outcome)
        cells = {
            "file": _text(shortened(row.file, widths["file"]), "cyan"),
            "words": _text(row.words, "dim" if row.words == "(silence)" else ""),
            "intent": _text(row.intent, colour),
            "reply": _text(row.reply, "" if outcome.state == "done" else colour),
            "wait": _text(row.wait, "dim"),
            "run": _text(row.run, "dim"),
        }
        if outcome.state != "done":  # state and reason go where there is a column
            words = [cells["words"]] if row.words else []
            if "intent" not in widths:
                cells["words"] = _lines([*words, _text(f"{row.intent}: {row.reply}", colour)])
            elif "reply" not in widths:
                cells["words"] = _lines([*words, cells["reply"]])
        return cells


def shortened(name: str, cells: int) -> str:
    """Return a name that takes at most so many columns, cut in the middle: the end of a path says most."""
    from rich.cells import cell_len

    shown = visible(name)
    if cell_len(shown) <= cells:
        return shown
    head, tail = "", ""
    for char in shown:
        if cell_len(head + char) > (cells - 1) // 3:
            break
        head += char
    for char in reversed(shown):
        if cell_len(head + char + tail) > cells - 1:
            break
        tail = char + tail
    return f"{head}…{tail}"


def _blocks(ended: Sequence[Outcome], width: int) -> "Table":
    from rich.table import Table

    grid = Table(box=None, padding=0, pad_edge=False, show_header=False)
    grid.add_column()
    for outcome in ended:
        row = row_of(outcome)
        seconds = f"  run {row.run} s, wait {row.wait} s" if row.run else ""
        grid.add_row(_text(shortened(row.file, max(_NAME, width - len(seconds))), "bold") + _text(seconds, "dim"))
        if row.words:
            grid.add_row(_text(row.words))
        if row.intent or row.reply:
            grid.add_row(_text(row.intent, _colour(outcome)) + _text(f"  {row.reply}"))
        grid.add_row("")
    return grid


def _grid(columns: Sequence[tuple[str, int]]) -> "Table":
    from rich.table import Table

    grid = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    for name, width in columns:
        grid.add_column(width=width, no_wrap=name == "file", justify="right" if name in ("wait", "run") else "left")
    return grid


def _text(text: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(visible(text), style=style, overflow="fold")


def _lines(parts: "list[Text]") -> "Text":
    from rich.text import Text

    return Text("\n", overflow="fold").join(parts)


def _colour(outcome: Outcome) -> str:
    if outcome.state != "done":
        return COLOURS[outcome.state]
    quiet = outcome.intent is None or outcome.intent.label in ("noise", "unknown")
    return "yellow" if quiet else "green"
