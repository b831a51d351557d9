"""What was decoded of a recording so far, kept so that an interrupted transcription goes on where it was, on any box.

Each decoding of a window is remembered under what it depends on. An interrupted transcription runs again from the start
and finds in memory what was computed, so that the same rules lead to the same words: nothing of the control flow
(windows to continue, texts to sample again) is stored.
"""

import math
import time
import zlib
from collections.abc import Collection, Sequence
from typing import Annotated, NamedTuple, Protocol

from pydantic import Field, ValidationError

from golem_chain.shared.records import Record
from golem_chain.workers.stages.scribe.audio.windows import Window
from golem_chain.workers.stages.scribe.whisper.decoding import Decoded
from golem_chain.workers.stages.scribe.whisper.timing import TokenTime

#: Of what is stored: counts up when the same key would no longer mean the same decoding.
FORMAT = 2
#: The most that is stored, bytes. An hour with word times takes 0.6 MB.
MOST_BYTES = 8_000_000
_MOST_WINDOWS = 20_000
#: How much computing a crash may cost, seconds: what is decoded is saved this often, and when it is interrupted.
SAVE_S = 10.0
_MOST = 1e6  # above any log-probability or time within a window
_Number = Annotated[float, Field(ge=-_MOST, le=_MOST)]


class Store(Protocol):
    """Where the memory of one recording outlives the process. Neither method raises for a store that is away."""

    def load(self) -> bytes | None:
        """What was saved last, which anyone may have written; None if nothing was."""
        ...

    def save(self, text: str) -> None:
        """Save it in the place of what was saved before."""
        ...


class Key(NamedTuple):
    """What a decoding depends on, besides the recording, the options and the checkpoint."""

    start_ms: int
    end_ms: int
    timestamps: bool
    temperature: float
    context_ms: int  # that the encoder computed
    language: str | None = None  # that it was told; None: the recording's, or detected
    before: int = 0  # a checksum of the text of the window before; 0 if it was not given

    @classmethod
    def of(
        cls,
        window: Window,
        timestamps: bool,
        temperature: float,
        context_s: float,
        language: str | None = None,
        before: Sequence[int] = (),
    ) -> "Key":
        """The key of decoding a window of a recording."""
        start_ms, end_ms = round(1000 * window.start_s), round(1000 * window.end_s)
        checksum = zlib.crc32(repr(list(before)).encode()) if before else 0
        return cls(start_ms, end_ms, timestamps, temperature, round(1000 * context_s), language, checksum)


class Kept(Record):
    """A decoding as it is stored."""

    key: Key
    tokens: tuple[int, ...] = Field(max_length=1000)
    avg_logprob: _Number
    no_speech_prob: _Number
    language: str | None = None
    full: bool = False
    raw_logprob: _Number = 0.0
    times: tuple[tuple[_Number, _Number, _Number], ...] = ()
    language_logprobs: tuple[_Number, ...] = ()
    scores: tuple[_Number | None, ...] = ()  # None: minus infinity, which JSON lacks

    @property
    def said(self) -> Decoded:
        """The decoding."""
        times = tuple(TokenTime(*one) for one in self.times)
        numbers = self.avg_logprob, self.no_speech_prob, self.language, self.full, self.raw_logprob
        return Decoded(self.tokens, *numbers, times, self.language_logprobs)


class KeptWindows(Record):
    """The stored memory of a recording."""

    version: str
    windows: tuple[Kept, ...] = Field(max_length=_MOST_WINDOWS)


class Memory:
    """The decodings of one recording. `version` names the checkpoint and the options: what was stored under another one
    is ignored, and so is what is damaged or has tokens or languages that the checkpoint lacks."""

    def __init__(self, version: str, store: Store, vocabulary: int, languages: Collection[str], scores: int) -> None:
        """`vocabulary`: the number of tokens; `scores`: that of the phrases, 0 without a vocabulary of phrases."""
        self.version, self.store = f"{FORMAT} {version}", store
        self._vocabulary, self._languages, self._scores = vocabulary, languages, scores
        self._kept: dict[Key, Kept] = {}
        self._saved = 0  # how many of them the store has
        self._saved_at = time.monotonic()

    def load(self) -> None:
        """Read what the store has."""
        body = self.store.load()
        if body is None or len(body) > MOST_BYTES:
            return
        try:
            found = KeptWindows.model_validate_json(body)
        except (ValidationError, RecursionError):
            return
        if found.version == self.version:
            self._kept = {kept.key: kept for kept in found.windows if self._is_sound(kept)}
            self._saved = len(self._kept)

    def find(self, key: Key) -> tuple[Decoded, list[float]] | None:
        """A decoding and the scores of its phrases; None if it is not known."""
        kept = self._kept.get(key)
        scores = [-math.inf if score is None else score for score in kept.scores] if kept else []
        return (kept.said, scores) if kept else None

    def add(self, key: Key, said: Decoded, scores: list[float]) -> bool:
        """Remember a decoding; return False for one that cannot be stored."""
        finite = [None if score == -math.inf else score for score in scores]
        numbers = [said.avg_logprob, said.no_speech_prob, said.raw_logprob, *said.language_logprobs]
        numbers += [score for score in finite if score is not None]
        if not all(abs(number) <= _MOST for number in numbers):
            return False
        self._kept[key] = Kept(
            key=key,
            tokens=said.tokens,
            avg_logprob=said.avg_logprob,
            no_speech_prob=said.no_speech_prob,
            language=said.language,
            full=said.full,
            raw_logprob=said.raw_logprob,
            times=tuple((one.start_s, one.end_s, one.prob) for one in said.times),
            language_logprobs=said.language_logprobs,
            scores=tuple(finite),
        )
        if time.monotonic() - self._saved_at >= SAVE_S:
            self.save()
        return True

    def save(self) -> None:
        """Save what is not saved yet, unless it is too large."""
        self._saved_at = time.monotonic()
        if len(self._kept) == self._saved or len(self._kept) > _MOST_WINDOWS:
            return
        body = KeptWindows(version=self.version, windows=tuple(self._kept.values())).model_dump_json()
        if len(body.encode()) <= MOST_BYTES:
            self.store.save(body)
        self._saved = len(self._kept)

    def _is_sound(self, kept: Kept) -> bool:
        known = kept.language in self._languages if self._languages else kept.language is None
        known = known and len(kept.language_logprobs) == len(self._languages)
        scored = len(kept.scores) in (0, self._scores)
        return known and scored and all(0 <= token < self._vocabulary for token in kept.tokens)
