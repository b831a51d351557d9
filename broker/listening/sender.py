"""Submits the jobs of a listener and follows them, in a thread of its own: sound is never kept waiting for Redis.

A partial job is worth something for a moment only: it is submitted once, or not at all. A final job is somebody's
words: while Redis is away it is kept and submitted again, for at most KEPT_S.
"""

import queue
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from golem_chain.broker.connection import connect, reaching
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.jobs.records import Jobs
from golem_chain.broker.keys import Keys
from golem_chain.broker.listening.listener import Action, Failed, Heard, News, Over, Submit
from golem_chain.broker.listening.sound import wav
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import BrokerAway, GolemError, VaultFull
from golem_chain.shared.records import JobOptions, Outcome, Transcript
from golem_chain.shared.settings import Settings

#: Intervals of looking at our jobs, seconds: for the first moments, while somebody waits for words, and later.
LOOK_S, LATER_S, SOON_FOR_S = 0.03, 0.25, 5.0
AGAIN_S = 1.0  # until the next attempt while Redis is away
KEPT_S = 300.0  # how long a final job is kept for a Redis that is away
GOODBYE_S = 3.0  # for the cancellations at the end


class State(NamedTuple):
    """A job as Redis knows it."""

    known: bool
    transcript: Transcript | None
    outcome: Outcome | None


class Broker(Protocol):
    """What the sender needs of a system. Every method raises BrokerAway if Redis fails."""

    def submit(self, job: str, name: str, recording: bytes, *, final: bool) -> None:
        """Submit a recording; safe to repeat. Raises GolemError."""

    def look(self, jobs: Sequence[str]) -> list[State]:
        """Return the state of each job."""

    def cancel(self, job: str) -> None:
        """Cancel a job. Raises BadRequest if Redis does not know it."""

    def close(self) -> None:
        """Close the connections."""


class System:
    """The system of the settings. `final` and `partial` are the options of the two kinds of jobs."""

    def __init__(self, settings: Settings, final: JobOptions, partial: JobOptions) -> None:
        self._settings, self._final, self._partial = settings, final, partial
        self._pipeline = Pipeline(settings)
        self._client = connect(settings)
        self._jobs = Jobs(self._client, Keys(settings.prefix))
        self._outcomes = Outcomes(settings, self._client)

    def submit(self, job: str, name: str, recording: bytes, *, final: bool) -> None:
        """See `Broker`."""
        options = self._final if final else self._partial
        self._pipeline.submit_with(recording, options, id=job, name=name, wait_s=AGAIN_S if final else 0.0)

    def look(self, jobs: Sequence[str]) -> list[State]:
        """See `Broker`."""
        with reaching(self._settings):
            found = self._jobs.finished(jobs)
            outcomes = [self._outcomes.get(job) if one.ended else None for job, one in zip(jobs, found, strict=True)]
        states = []
        for one, outcome in zip(found, outcomes, strict=True):
            handover = None if outcome else one.handover
            states.append(State(one.known or one.ended, handover.transcript if handover else None, outcome))
        return states

    def cancel(self, job: str) -> None:
        """See `Broker`."""
        self._pipeline.cancel(job)

    def close(self) -> None:
        """See `Broker`."""
        self._pipeline.close()
        self._client.close()


@dataclass
class _Ask:
    """A job to submit, or submitted."""

    action: Submit
    job: str
    since: float = field(default_factory=time.monotonic)
    heard: bool = False  # the transcript was told


class Sender:
    """Does what a Listener decides. Its methods return at once, but for `close`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._stream = uuid.uuid4().hex
        self._todo: queue.SimpleQueue[Action | None] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[News | str] = queue.SimpleQueue()
        self._unsent: dict[int, _Ask] = {}
        self._sent: dict[int, _Ask] = {}
        self._again = 0.0  # when Redis is tried again, 0 if it answered
        self._bug: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="golem-listen-sender", daemon=True)
        self._thread.start()

    def do(self, action: Action) -> None:
        """Submit or cancel."""
        self._todo.put(action)

    def news(self) -> list[News | str]:
        """Return what happened since the last call; a text is a sentence for the user."""
        if self._bug:
            raise self._bug
        found = []
        while not self._news.empty():
            found.append(self._news.get())
        return found

    def close(self) -> None:
        """Cancel the jobs without an Outcome, within GOODBYE_S."""
        self._todo.put(None)
        self._thread.join(GOODBYE_S)

    # -- in the thread

    def _run(self) -> None:
        try:
            while self._take(self._pause_s()):
                self._turn()
            for key in list(self._sent):
                self._cancel(key)
        except Exception as exc:  # noqa: BLE001 - raised by `news`: without this thread the listener would wait for ever
            self._bug = exc
        finally:
            self._broker.close()

    def _turn(self) -> None:
        if self._again > time.monotonic():
            return
        try:
            self._submit()
            self._look()
            self._returned()
        except (BrokerAway, VaultFull) as exc:
            self._went(exc)

    def _pause_s(self) -> float | None:
        """How long to wait for something to do, None without end."""
        waiting = [*self._unsent.values(), *self._sent.values()]
        now = time.monotonic()
        if self._again > now:
            return self._again - now
        if not waiting:
            return None
        return LOOK_S if now - max(one.since for one in waiting) < SOON_FOR_S else LATER_S

    def _take(self, pause_s: float | None) -> bool:
        """Take what there is to do; return False at the end."""
        try:
            action = self._todo.get(timeout=pause_s)
            while True:
                if action is None:
                    return False
                if isinstance(action, Submit):
                    self._unsent[action.key] = _Ask(action, f"{self._stream}-{action.key}")
                else:
                    self._cancel(action.key)
                action = self._todo.get_nowait()
        except queue.Empty:
            return True

    def _cancel(self, key: int) -> None:
        self._unsent.pop(key, None)
        ask = self._sent.pop(key, None)
        if ask:
            try:
                self._broker.cancel(ask.job)
            except BrokerAway as exc:
                self._went(exc)
            except GolemError:
                pass  # Redis no longer knows it

    def _submit(self) -> None:
        for key, ask in list(self._unsent.items()):
            final = ask.action.final
            if final and time.monotonic() - ask.since > KEPT_S:
                del self._unsent[key]
                self._news.put(Failed(key, f"Redis did not take it within {KEPT_S:g} s"))
                continue
            try:
                name = f"utterance {ask.action.number}"
                self._broker.submit(ask.job, name, wav(ask.action.pcm), final=final)
            except (BrokerAway, VaultFull):
                if not final:
                    del self._unsent[key]
                    self._news.put(Over(key, None))
                raise
            except GolemError as exc:
                del self._unsent[key]
                self._news.put(Failed(key, exc.message) if final else Over(key, None))
            else:
                self._sent[key] = self._unsent.pop(key)

    def _look(self) -> None:
        keys = list(self._sent)
        if not keys:
            return
        states = self._broker.look([self._sent[key].job for key in keys])
        for key, state in zip(keys, states, strict=True):
            ask = self._sent[key]
            if state.outcome:
                del self._sent[key]
                self._news.put(Over(key, state.outcome))
            elif not state.known:  # Redis has lost it, as after a restart without its file
                del self._sent[key]
                if ask.action.final:
                    self._unsent[key] = ask
                else:
                    self._news.put(Over(key, None))
            elif state.transcript and not ask.heard:
                ask.heard = True
                self._news.put(Heard(key, state.transcript))

    # -- Redis away, or its vault full

    def _went(self, exc: GolemError) -> None:
        if not self._again:
            self._news.put(
                f"{exc.message} Listening goes on: what is said is kept for {KEPT_S:g} s and submitted later."
            )
        self._again = time.monotonic() + AGAIN_S
        for key in [key for key, ask in self._unsent.items() if not ask.action.final]:
            del self._unsent[key]
            self._news.put(Over(key, None))

    def _returned(self) -> None:
        if self._again:
            self._again = 0.0
            self._news.put("Redis takes jobs again.")
