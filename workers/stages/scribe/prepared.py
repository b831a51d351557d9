"""A recording prepared for Whisper: samples, voice, windows, options and progress."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golem_chain.shared.records import Task
from golem_chain.workers.stages.scribe.audio.decode import RATE
from golem_chain.workers.stages.scribe.audio.speech import Span
from golem_chain.workers.stages.scribe.audio.windows import WINDOW_S, Window
from golem_chain.workers.stages.scribe.heard import Memory
from golem_chain.workers.stages.scribe.vocabulary.choice import Lexicon
from golem_chain.workers.stages.scribe.vocabulary.hotwords import Hotword


@dataclass(frozen=True, eq=False)
class PreparedAudio:
    """A decoded recording that has voice."""

    samples: npt.NDArray[np.float32]  # (n,), mono, 16 kHz
    chances: npt.NDArray[np.float32]  # p(voice) of every frame
    spans: list[Span]
    windows: list[Window]
    language: str | None
    task: Task
    gain: float  # applied to the samples before the model
    limit: float  # threshold for p(no speech), adjusted by how sure the detector is of the voice
    fallback: bool  # sample again at higher temperatures if a text fails
    word_times: bool
    progress: Callable[[float, float], None] | None  # called with the seconds transcribed and the total
    lexicon: Lexicon | None = None  # the phrases to choose from
    hotwords: tuple[Hotword, ...] = ()  # names that may be said
    memory: Memory | None = None  # of a recording of several windows, if it can be kept
    previous: tuple[int, ...] = ()  # tokens of the text that precedes the first window
    prompt: str = ""  # the same text, which the model repeats where nobody speaks
    temperature: float = 0.0  # of the first hearing
    seed: int = 0  # of sampling, beside the window's own
    step: Callable[[], None] | None = None  # called after each batch of windows; may raise to interrupt
    carried: int = 0  # the most tokens that a window is given of the text of the one before; 0: none

    def timestamps(self, window: Window) -> bool:
        """Whether to decode a window with timestamps: only in long recordings, as transformers does. With a vocabulary,
        only windows too long to score."""
        return window.end_s - window.start_s > WINDOW_S if self.lexicon else len(self.windows) > 1

    def before(self, window: Window) -> tuple[int, ...]:
        """The tokens of the text that precedes a window: none but in front of the first. In front of every window it
        raises the errors of tiny.en on 263 s of read speech from 28-32 of 680 words to 31-116."""
        return self.previous if window.start_s <= self.windows[0].start_s else ()

    @property
    def duration_s(self) -> float:
        """Duration of the recording, seconds."""
        return len(self.samples) / RATE


class ProgressMeter:
    """Tracks how much of each recording is transcribed, and calls its `progress`."""

    def __init__(self) -> None:
        self._heard: dict[PreparedAudio, float] = {}

    def count(self, batch: Iterable[tuple[PreparedAudio, Window]]) -> None:
        """Count windows as transcribed. A recording's progress is capped at its duration, since parts of a window may
        run twice."""
        for sound, window in batch:
            if sound.progress is not None:
                self._heard[sound] = self._heard.get(sound, 0.0) + window.heard_s
                whole = sum(window.end_s - window.start_s for window in sound.windows)
                sound.progress(min(self._heard[sound] / whole, 1.0) * sound.duration_s, sound.duration_s)
