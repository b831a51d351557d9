"""The loop of a listener: reads the source, asks the voice detector, does what the Listener decides, shows what comes.

source ─► frames ─► voice ─► Listener ─► Sender ─► Redis
                                 └─────► screen  ◄── news
"""

import time
from collections.abc import Callable
from typing import Protocol

from golem_chain.broker.listening.listener import WAITING_MOST, Cancel, Event, Listener, Submit
from golem_chain.broker.listening.sender import Sender
from golem_chain.broker.listening.sound import Frames, level_db
from golem_chain.broker.listening.source import Source
from golem_chain.broker.listening.voice import Detector
from golem_chain.shared.errors import GolemError, NoMicrophone

READ_S = 0.03  # how long a read waits: news are shown this late at most
CHECK_S = 1.0  # between looks at the worker of a system of our own
#: How long the answers to what was said before the stream ended are waited for without any sign of life, seconds.
PATIENCE_S = 60.0


class Screen(Protocol):
    """Where events are shown."""

    def show(self, event: Event) -> None:
        """Show an event."""

    def level(self, db: float, *, speaking: bool) -> None:
        """Show the level of the last frame, dB of full scale."""

    def tell(self, sentence: str) -> None:
        """Show a sentence to the user."""


class Session:
    """A source, what hears it, and where it is shown. `check` may raise to end the session."""

    def __init__(
        self,
        source: Source,
        voice: Detector,
        listener: Listener,
        sender: Sender,
        screen: Screen,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._source, self._voice, self._listener = source, voice, listener
        self._sender, self._screen, self._check = sender, screen, check
        self._frames, self._checked = Frames(), time.monotonic()

    def run(self) -> None:
        """Listen until the stream ends and all that was said has its answer.

        Raises NoMicrophone, after these answers, if the source breaks; GolemError if no answer comes.
        """
        broken: NoMicrophone | None = None
        try:
            while self._listen():
                self._look()
        except NoMicrophone as exc:
            broken = exc
        self._do(self._listener.finish())
        self._drain()
        if broken:
            raise broken

    @property
    def unanswered(self) -> int:
        """How many utterances have no Outcome; what is being said counts."""
        return self._listener.waiting + self._listener.speaking

    def _listen(self) -> bool:
        """Take what the source has; return False at its end."""
        if self._source.patient and self._listener.waiting >= WAITING_MOST // 2:
            time.sleep(READ_S)
            return True
        pcm = self._source.read(READ_S)
        if pcm is None:
            return False
        for frame in self._frames.cut(pcm):
            self._do(self._listener.hear(frame, self._voice(frame)))
            self._screen.level(level_db(frame), speaking=self._listener.speaking)
        if (lost_s := self._source.dropped_s()) > 0:
            self._screen.tell(f"{lost_s:.2f} s of sound were lost: this machine is too busy.")
        return True

    def _drain(self) -> None:
        """Wait for the answers. Raises GolemError if none comes for PATIENCE_S."""
        last, left = time.monotonic(), self._listener.waiting
        while self._listener.waiting:
            if self._look() or self._listener.waiting != left:
                last, left = time.monotonic(), self._listener.waiting
            if time.monotonic() - last > PATIENCE_S:
                raise GolemError(
                    f"No answer came for {PATIENCE_S:g} s, and {left} utterances without one are cancelled: see with "
                    "golem status whether a worker runs."
                )
            time.sleep(READ_S)

    def _do(self, decided: "list[Submit | Cancel | Event]") -> None:
        for one in decided:
            if isinstance(one, Submit | Cancel):
                self._sender.do(one)
            else:
                self._screen.show(one)

    def _look(self) -> bool:
        """Show what became of the jobs; return whether anything did."""
        if time.monotonic() - self._checked > CHECK_S:
            self._checked = time.monotonic()
            self._check()
        news = self._sender.news()
        for one in news:
            if isinstance(one, str):
                self._screen.tell(one)
            else:
                self._do(self._listener.told(one))
        return bool(news)
