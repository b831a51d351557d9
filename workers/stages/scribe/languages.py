"""Which language a recording is in, and which of its windows are in another one. Pure.

Whisper detects the language of each window from its first step. A window with little speech is often taken for another
language than the rest, and is then transcribed, or rather translated, into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Natural log-probabilities count no lower than this (2 %): windows that are sure vote, and none outvotes all others.
_FLOOR = -4.0
#: A window keeps a language of its own if it has this many seconds of voice and its language is this many times as
#: likely as that of the recording (natural logarithm; 12 times). docs/hearing.md has figures.
OWN_VOICED_S = 2.0
OWN_MARGIN = 2.5


@dataclass(frozen=True)
class Detected:
    """The language detection of a window."""

    logprobs: Sequence[float]  # natural, for each language of the checkpoint
    voiced_s: float  # seconds of voice in the window; 0 if nobody speaks


def language_of(windows: Sequence[Detected]) -> int | None:
    """The index of the recording's language: the one with the largest log-probability over all windows, weighted by
    their seconds of voice. None if no window has voice."""
    spoken = [window for window in windows if window.voiced_s > 0 and len(window.logprobs)]
    if not spoken:
        return None
    weights = np.array([window.voiced_s for window in spoken])
    return int(np.argmax(weights @ np.maximum([window.logprobs for window in spoken], _FLOOR)))


def keeps_its_own(window: Detected, recording: int) -> bool:
    """Whether the window is in another language than the recording, whose language has the index `recording`."""
    margin = max(window.logprobs) - window.logprobs[recording]
    return window.voiced_s >= OWN_VOICED_S and margin >= OWN_MARGIN
