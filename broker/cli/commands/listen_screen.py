"""What `golem listen` shows: a live view on a terminal, plain lines elsewhere, JSON lines on request."""

import sys
import time
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from golem_chain.broker.cli.console import console, line, say
from golem_chain.broker.cli.follow.report import why
from golem_chain.broker.listening.listener import Event, Final, Lost, Partial, Words
from golem_chain.shared.records import Outcome
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

LOWEST_DB, STEPS = -60.0, 20  # what the meter begins at, and its width in columns
FALL_DB = 1.5  # by which the meter falls per frame, so that it can be read


def record(event: Event) -> dict[str, Any]:
    """Return an event as one JSON object; that of a final one has the fields of its Outcome."""
    name = {Partial: "partial", Words: "words", Final: "final", Lost: "lost"}[type(event)]
    if isinstance(event, Partial):
        text = " ".join(part for part in (event.confirmed, event.rest) if part)
        return {"event": name, "utterance": event.number, "text": text, "confirmed": event.confirmed}
    if isinstance(event, Final):
        at = {"utterance": event.number, "start_s": event.start_s, "end_s": event.end_s}
        return {"event": name, **at, **event.outcome.model_dump(mode="json")}
    fields = asdict(event)
    return {"event": name, "utterance": fields.pop("number"), **fields}


def answer(outcome: Outcome) -> str:
    """Return intent and reply on one line; empty for silence, a transcript alone and a job that is not done."""
    intent, reply = outcome.intent, outcome.reply
    if outcome.state != "done" or not (outcome.transcript and outcome.transcript.text) or not intent:
        return ""
    return visible(f"{intent.label} {intent.score:.2f}" + (f": {reply.text.strip()}" if reply else ""))


class JsonLines:
    """One JSON object per event on stdout."""

    failed = False  # whether an utterance was lost, or its job did not end as done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def begin(self, name: str) -> None:
        """Say that listening begins."""
        line({"event": "listening", "source": visible(name, 200)})

    def show(self, event: Event) -> None:
        """See `Screen`."""
        line(record(event))
        self._complain(event)

    def _complain(self, event: Event) -> None:
        """Say what went wrong, if anything did."""
        if isinstance(event, Final) and event.outcome.state != "done":
            self.failed = True
            self.tell(why(event.outcome))
        if isinstance(event, Lost):
            self.failed = True
            self.tell(f"Utterance {event.number} is lost: {event.why}.")

    def level(self, db: float, *, speaking: bool) -> None:
        """See `Screen`: levels are not told."""

    def tell(self, sentence: str) -> None:
        """See `Screen`."""
        say(sentence)


class Lines(JsonLines):
    """Words and answers as plain lines on stdout, each with the number of its utterance."""

    def begin(self, name: str) -> None:
        """Say that listening begins."""
        say(f"Listening to {visible(name, 200)}; Ctrl-C ends it.")

    def show(self, event: Event) -> None:
        """See `Screen`."""
        if isinstance(event, Words) and event.text:
            self._line(f"[{event.number}] {visible(event.text)}")
        elif isinstance(event, Final) and (text := answer(event.outcome)):
            self._line(f"[{event.number}] {text}")
        self._complain(event)

    @staticmethod
    def _line(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class View(Lines):
    """The live view of a terminal: what is being said and the level below, what was said and its answers above."""

    def __init__(self) -> None:
        self._console: Console = console()
        self._plain = not self._console.encoding.startswith("utf")
        self._aside = not sys.stdout.isatty()  # answers go to a file or a pipe as well
        self._live: Live | None = None
        self._db, self._speaking = LOWEST_DB, False
        self._now = (0, "", "")  # the number of what is being said, its certain words, the others
        self._waiting: dict[int, str] = {}  # the words of utterances without an answer, by number
        self._drawn = 0.0

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._live:
            self._live.update("", refresh=True)
            self._live.stop()

    def begin(self, name: str) -> None:
        """Say that listening begins, and show the view."""
        from rich.live import Live

        super().begin(name)
        self._live = Live(
            self._view(), console=self._console, auto_refresh=False, transient=True, vertical_overflow="ellipsis",
            redirect_stdout=False,
        )  # fmt: skip
        self._live.start()

    def show(self, event: Event) -> None:
        """See `Screen`."""
        from rich.text import Text

        if self._aside:
            super().show(event)
        else:
            self._complain(event)
        match event:
            case Partial(number, confirmed, rest):
                self._now = number, visible(confirmed), visible(rest)
            case Words(number, _, _, text) if text:
                self._waiting[number] = visible(text)
            case Final(number, _, _, outcome):
                words, said = self._waiting.pop(number, ""), answer(outcome)
                if words:
                    self._console.print(Text(words, style="bold"))
                if said:
                    self._console.print(Text(f"  {said}"))
            case Lost(number, _):
                self._waiting.pop(number, None)
        if not isinstance(event, Partial) and event.number >= self._now[0]:
            self._now = (0, "", "")
        self._draw()

    def level(self, db: float, *, speaking: bool) -> None:
        """See `Screen`."""
        self._db, self._speaking = max(db, self._db - FALL_DB), speaking
        if time.monotonic() - self._drawn > 0.09:  # about ten times a second
            self._draw()

    def tell(self, sentence: str) -> None:
        """See `Screen`."""
        self._console.print(f"golem: {visible(sentence)}")

    def _draw(self) -> None:
        if self._live:
            self._drawn = time.monotonic()
            self._live.update(self._view(), refresh=True)

    def _view(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        rows = [Text.assemble(words, (" …" if not self._plain else " ...", "dim")) for words in self._waiting.values()]
        _, confirmed, rest = self._now
        if confirmed or rest:
            rows.append(Text.assemble((confirmed, "bold"), " " if confirmed and rest else "", (rest, "dim")))
        return Group(*rows, self._meter())

    def _meter(self) -> "Text":
        from rich.text import Text

        full = round((self._db - LOWEST_DB) / -LOWEST_DB * STEPS)
        full, (on, off) = min(STEPS, max(0, full)), ("#", "-") if self._plain else ("█", "░")
        state = ("speech", "bold green") if self._speaking else ("listening", "dim")
        style = "red" if self._db > -1 else "yellow" if self._db > -6 else "green"  # -1 dB: about to clip
        return Text.assemble((on * full, style), (off * (STEPS - full), "dim"), "  ", state)
