"""Decides, frame by frame, what to submit and what to show: utterances, their partial and their final jobs. Pure.

frame, p(speech) ─► endpointer ─► utterance ─► Submit, Cancel        news of jobs ─► Partial, Words, Final, Lost

While somebody speaks, what was said so far is submitted again and again, one job at a time, for the Scribe alone. At
the beginning of a pause the final job is submitted, with all stages; if voice follows, it is cancelled. The time is
that of the sound, so that a replayed file gives the same decisions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from golem_chain.broker.listening.agreement import Agreement
from golem_chain.broker.listening.endpoint import FRAME_S, Began, Bounds, Ended, Endpointer, Paused, Resumed
from golem_chain.broker.listening.sound import FRAME_BYTES
from golem_chain.shared.records import Outcome, Transcript

FIRST_S = 0.7  # of sound, with 0.3 s from before the voice: what the first partial job hears at least
SOON_S = 0.3  # between partial jobs until there are words to show
EVERY_S = 0.7  # between partial jobs from then on
#: Share of the time in which a partial job may be under way: on a slow worker they become fewer, so that the final job
#: seldom waits for one.
BUSY = 0.5
#: An utterance up to this length in which the Scribe finds no words is heard once more with the silence after it, which
#: a short word alone needs: with 0.16 s of it "Pause." and "Never mind." were lost, with 0.5 s they were not.
SHORT_S = 2.0
#: Final jobs without an Outcome at which further utterances are given up: the worker cannot keep up.
WAITING_MOST = 20

# -- what to do


@dataclass(frozen=True)
class Submit:
    """Submit a recording of utterance `number`. `final`: with all stages; else the words so far."""

    key: int
    number: int
    pcm: bytes
    final: bool


@dataclass(frozen=True)
class Cancel:
    """Cancel a job: nobody wants its Outcome any more."""

    key: int


# -- what became of it


@dataclass(frozen=True)
class Heard:
    """The Scribe has finished a job, which goes on."""

    key: int
    transcript: Transcript


@dataclass(frozen=True)
class Over:
    """A job has ended. None: a partial job that was not submitted."""

    key: int
    outcome: Outcome | None


@dataclass(frozen=True)
class Failed:
    """A final job was not submitted and will not be."""

    key: int
    why: str


# -- what to show


@dataclass(frozen=True)
class Partial:
    """The words so far: those that are certain, and those that may change."""

    number: int
    confirmed: str
    rest: str


@dataclass(frozen=True)
class Words:
    """The words of a whole utterance; its job goes on. Times count from the first frame, seconds."""

    number: int
    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Final:
    """An utterance's Outcome."""

    number: int
    start_s: float
    end_s: float
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """An utterance that was not answered, and why."""

    number: int
    why: str


Action = Submit | Cancel
News = Heard | Over | Failed
Event = Partial | Words | Final | Lost


@dataclass
class _Utterance:
    """What belongs to one utterance. `pcm` is its sound while it goes on."""

    number: int
    start: int  # frame
    end: int = 0  # frame; 0 while it goes on
    pcm: bytearray = field(default_factory=bytearray)
    agreement: Agreement = field(default_factory=Agreement)
    shown: tuple[str, str] = ("", "")
    partial: int | None = None  # the key of the job under way
    tried: int = 0  # the frame at which the last partial job was submitted
    took: int = 0  # frames until its answer
    final: int | None = None
    longer: bytes | None = None  # of an utterance that has ended: with the silence after it
    words: Transcript | None = None  # of the final job
    told: bool = False  # whether these were shown as such
    outcome: Outcome | None = None

    @property
    def times(self) -> tuple[float, float]:
        return round(self.start * FRAME_S, 2), round(self.end * FRAME_S, 2)


class Listener:
    """One stream of frames. `partials`: whether words are wanted while somebody speaks."""

    def __init__(self, bounds: Bounds | None = None, *, partials: bool = True) -> None:
        self._bounds, self._partials = bounds or Bounds(), partials
        self._endpointer = Endpointer(self._bounds)
        self._before: dict[int, bytes] = {}  # the frames that may still become the beginning of an utterance
        self._seen = 0  # frames
        self._keys = self._numbers = 0
        self._now: _Utterance | None = None
        self._waiting: dict[int, _Utterance] = {}  # ended ones without an Outcome, by the key of the final job

    @property
    def speaking(self) -> bool:
        """Whether somebody speaks."""
        return self._endpointer.speaking

    @property
    def waiting(self) -> int:
        """How many utterances have ended and have no Outcome."""
        return len(self._waiting)

    # -- sound

    def hear(self, frame: bytes, chance: float) -> list[Action | Event]:
        """Take the next frame and its probability of speech."""
        self._seen += 1
        if self._now:
            self._now.pcm += frame
        self._before[self._seen - 1] = frame
        done = list(self._happen(self._endpointer.feed(chance)))
        kept = round((self._bounds.cut_s if self._now else self._bounds.before_s + self._bounds.begin_s) / FRAME_S) + 2
        for old in [n for n in self._before if n < self._seen - kept]:
            del self._before[old]
        return done + list(self._again())

    def finish(self) -> list[Action | Event]:
        """Take the end of the stream: what was being said ends here."""
        return list(self._happen(self._endpointer.finish()))

    def _happen(self, events: "tuple[Began | Paused | Resumed | Ended, ...]") -> Iterator[Action | Event]:
        for event in events:
            match event, self._now:
                case Began(at), _:
                    self._numbers += 1
                    pcm = bytearray(b"".join(self._before.get(n, b"") for n in range(at, self._seen)))
                    self._now = _Utterance(self._numbers, at, pcm=pcm, tried=at)
                case Paused(at), _Utterance() as now:
                    yield from self._drop_partial(now)
                    yield self._final(now, at)
                case Resumed(), _Utterance(final=int(key)) as now:
                    now.final = now.words = now.outcome = None
                    yield Cancel(key)
                case Ended(at), _Utterance() as now:
                    yield from self._end(now, at)

    def _final(self, now: _Utterance, at: int) -> Submit:
        now.final = self._key()
        return Submit(now.final, now.number, bytes(now.pcm[: (at - now.start) * FRAME_BYTES]), final=True)

    def _end(self, now: _Utterance, at: int) -> Iterator[Action | Event]:
        now.end, self._now = at, None
        yield from self._drop_partial(now)
        if len(self._waiting) >= WAITING_MOST:
            if now.final is not None:
                yield Cancel(now.final)
            why = f"{WAITING_MOST} earlier ones wait for the worker, which does not keep up"
            yield Lost(now.number, why)
            return
        if now.final is None:
            yield self._final(now, at)
        if at < self._seen and (at - now.start) * FRAME_S <= SHORT_S:
            now.longer = bytes(now.pcm[: (self._seen - now.start) * FRAME_BYTES])
        now.pcm = bytearray()  # the sender has it
        if now.final is not None:
            self._waiting[now.final] = now
        yield from self._settle(now)

    def _again(self) -> Iterator[Submit]:
        """Submit the words so far if it is time, voice is going on, and no job of ours waits for the Scribe."""
        now = self._now
        if not now or not self._partials or not self.speaking or now.partial is not None or now.final is not None:
            return
        if any(one.words is None for one in self._waiting.values()):
            return
        tried = now.tried > now.start
        since_s = (self._seen - now.tried) * FRAME_S
        every_s = max(EVERY_S, now.took * FRAME_S / BUSY)
        if since_s >= (FIRST_S if not tried else every_s if any(now.shown) else SOON_S):
            now.partial, now.tried = self._key(), self._seen
            yield Submit(now.partial, now.number, bytes(now.pcm), final=False)

    def _drop_partial(self, now: _Utterance) -> Iterator[Cancel]:
        if now.partial is not None:
            yield Cancel(now.partial)
            now.partial = None

    def _key(self) -> int:
        self._keys += 1
        return self._keys

    # -- news

    def told(self, news: News) -> list[Action | Event]:
        """Take what became of a job. News of cancelled jobs change nothing."""
        now, ended = self._now, self._waiting.get(news.key)
        match news:
            case Failed(_, why) if ended:
                del self._waiting[news.key]
                return [Lost(ended.number, why)]
            case Heard(_, transcript) if ended:
                ended.words = transcript
                return list(self._settle(ended))
            case Over(_, Outcome() as outcome) if ended:
                ended.outcome = outcome
                return list(self._settle(ended))
            case Heard(_, transcript) if now and news.key == now.final:
                now.words = transcript
                return list(self._agree(now, transcript, cut=False))
            case Over(_, outcome) if now and news.key == now.final:
                now.outcome = outcome
                if now.words is None and outcome and outcome.transcript:
                    now.words = outcome.transcript
                    return list(self._agree(now, outcome.transcript, cut=False))
            case Over(_, outcome) if now and news.key == now.partial:
                now.partial, now.took = None, self._seen - now.tried
                if outcome and outcome.state == "done" and outcome.transcript:
                    return list(self._agree(now, outcome.transcript, cut=True))
            case Failed(_, why) if now and news.key == now.final:
                now.final = None  # submitted once more if the utterance ends here
        return []

    def _settle(self, ended: _Utterance) -> Iterator[Action | Event]:
        """Say what is known of an utterance that has ended; without words a short one is heard once more."""
        words, outcome = ended.words or (ended.outcome.transcript if ended.outcome else None), ended.outcome
        if words and not words.text.strip() and ended.longer and ended.final is not None:
            yield Cancel(ended.final)
            del self._waiting[ended.final]
            ended.final, ended.words, ended.outcome = self._key(), None, None
            self._waiting[ended.final] = ended
            yield Submit(ended.final, ended.number, ended.longer, final=True)
            ended.longer = None
            return
        if words and not ended.told:
            ended.told = True
            yield Words(ended.number, *ended.times, words.text)
        if outcome:
            self._waiting.pop(ended.final or 0, None)
            yield Final(ended.number, *ended.times, outcome)

    def _agree(self, now: _Utterance, transcript: Transcript, *, cut: bool) -> Iterator[Event]:
        now.agreement = now.agreement.hear(transcript.text)
        shown = now.agreement.shown(cut=cut)
        if shown != now.shown:
            now.shown = shown
            yield Partial(now.number, *shown)
