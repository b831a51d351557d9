"""A recording on its way through the Scribe: its samples, the voice in it, what is wanted of it, how far it is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golem_chain.shared.records import Task
from golem_chain.workers.stages.scribe.audio.decode import RATE
from golem_chain.workers.stages.scribe.audio.speech import Span
from golem_chain.workers.stages.scribe.audio.windows import WINDOW_S, Window
from golem_chain.workers.stages.scribe.vocabulary.choice import Lexicon


@dataclass(frozen=True, eq=False)
class PreparedAudio:
    """A recording with voice in it, decoded."""

    samples: npt.NDArray[np.float32]  # (n,), mono, 16 kHz
    chances: npt.NDArray[np.float32]  # p(voice) of every frame
    spans: list[Span]
    windows: list[Window]
    language: str | None
    task: Task
    gain: float  # what the model hears it multiplied by
    limit: float  # of p(no speech), by how sure the detector is of the voice
    fallback: bool  # a text that fails is sampled again, warmer
    word_times: bool
    progress: Callable[[float, float], None] | None  # told of the seconds heard, and of how many
    lexicon: Lexicon | None = None  # the phrases to choose from

    def timestamps(self, window: Window) -> bool:
        """Whether a window is decoded with timestamps: those of long recordings are, short ones not, as transformers
        does. An utterance that is scored has none."""
        return window.end_s - window.start_s > WINDOW_S if self.lexicon else len(self.windows) > 1

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return len(self.samples) / RATE


class ProgressMeter:
    """How much of each recording went through the model, told to those who asked."""

    def __init__(self) -> None:
        self._heard: dict[PreparedAudio, float] = {}

    def count(self, batch: Iterable[tuple[PreparedAudio, Window]]) -> None:
        """These windows are heard. What of a window is heard once more is no progress."""
        for sound, window in batch:
            if sound.progress is not None:
                self._heard[sound] = self._heard.get(sound, 0.0) + window.heard_s
                whole = sum(window.end_s - window.start_s for window in sound.windows)
                sound.progress(min(self._heard[sound] / whole, 1.0) * sound.duration_s, sound.duration_s)
