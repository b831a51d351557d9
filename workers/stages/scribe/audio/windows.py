"""Cuts a long recording into windows for Whisper without splitting, losing or repeating words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golem_chain.workers.stages.scribe.audio.speech import FRAME_S, MARGIN_S, Span, voiced_between

#: Length of Whisper's input, seconds.
WINDOW_S = 30.0
#: A pause of this length ends an utterance; pauses within one are shorter.
UTTERANCE_PAUSE_S = 0.8
#: Voice without a pause may be cut at a dip within this many seconds of the end of a window.
_SEARCH_S = 12.0
#: A frame may be cut if its p(voice) is at most this: gaps between words are that low, vowels are not.
_DIP = 0.35
#: Less voice than this after the model's last timestamp is the end of a word already transcribed, seconds.
_TAIL_S = 0.4
#: More voice than this after an apparently complete text means that the model skipped it, seconds.
_SKIPPED_S = 1.5
#: Minimum advance when a window is resumed, seconds; with less the loop might never end.
_PROGRESS_S = 1.0
#: A shorter window is not cut in two, seconds: its text seldom reaches the length limit even in Burmese, which has 50
#: to 70 tokens per second.
_LEAST_HALVED_S = 4.0


@dataclass(frozen=True)
class Window:
    """A stretch of the recording, in seconds. Longer than WINDOW_S only if the voice has no pause: the model then gets
    the start, and its timestamps show where to resume."""

    start_s: float
    end_s: float

    @property
    def heard_s(self) -> float:
        """The seconds that the model gets at once."""
        return min(self.end_s - self.start_s, WINDOW_S)


def cut(
    spans: Sequence[Span], probabilities: npt.NDArray[np.float32], duration_s: float, most_s: float = WINDOW_S
) -> list[Window]:
    """Windows that cover every span of voice once, in order and without overlap.

    A recording that fits is a single window, pauses included. A longer one is cut in the middle of pauses, as late as
    possible. A span longer than a window is cut at its least voiced frame, or stays whole if that is still voice.
    """
    if duration_s <= most_s:
        return [Window(0.0, duration_s)]
    windows: list[Window] = []
    floor = 0.0  # end of the previous window
    parts = [part for span in spans for part in _parts(span, probabilities, most_s - 2 * MARGIN_S)]
    first = 0
    while first < len(parts):
        start = max(floor, parts[first].start_s - MARGIN_S)
        after = first + 1
        while after < len(parts) and parts[after].end_s + MARGIN_S - start <= most_s:
            after += 1
        end = min(parts[after - 1].end_s + MARGIN_S, duration_s)
        if after < len(parts):
            end = min(end, (parts[after - 1].end_s + parts[after].start_s) / 2)
        windows.append(Window(start, end))
        floor, first = end, after
    return windows


def utterances(
    spans: Sequence[Span], probabilities: npt.NDArray[np.float32], duration_s: float, most_s: float = WINDOW_S
) -> list[Window]:
    """Windows of one utterance each: a recording that fits is one window, a longer one is cut at every long pause."""
    if duration_s <= most_s:
        return [Window(0.0, duration_s)]
    groups: list[list[Span]] = []
    for span in spans:
        if groups and span.start_s - groups[-1][-1].end_s < UTTERANCE_PAUSE_S:
            groups[-1].append(span)
        else:
            groups.append([span])
    return [window for group in groups for window in cut(group, probabilities, duration_s, most_s)]


def rest(window: Window, at_s: float | None, last_s: float | None, spans: Sequence[Span]) -> Window | None:
    """The part of a window still to be transcribed, or None.

    `at_s`: where the model asks to resume, `last_s`: its last timestamp, both in seconds into the window or None.
    Returns a window only if voice is left, so that trailing silence is not transcribed.
    """
    if advances(at_s):
        assert at_s is not None
        start, least = window.start_s + at_s, _TAIL_S
    elif window.end_s - window.start_s > WINDOW_S:  # resume with the audio not seen yet, or that the model skipped
        start, least = window.start_s + WINDOW_S, 0.0
        if last_s is not None and advances(last_s):
            skipped = voiced_between(spans, window.start_s + last_s, start) > _TAIL_S
            start = window.start_s + last_s if skipped else start
    elif last_s is not None and last_s >= _PROGRESS_S:
        start, least = window.start_s + last_s, _SKIPPED_S
    else:
        return None
    return Window(start, window.end_s) if voiced_between(spans, start, window.end_s) > least else None


def advances(at_s: float | None) -> bool:
    """Whether to resume so many seconds into a window."""
    return at_s is not None and at_s >= _PROGRESS_S


def is_skipped(window: Window, at_s: float, spans: Sequence[Span]) -> bool:
    """Whether the model skipped voice in what it was given of a window: after its text ended, `at_s` into the
    window."""
    return voiced_between(spans, window.start_s + at_s, window.start_s + window.heard_s) > _SKIPPED_S


def halves(window: Window, probabilities: npt.NDArray[np.float32]) -> tuple[Window, Window] | None:
    """The window in two parts, cut at the least voiced frame in the middle third of what the model was given of it.
    None if it is short."""
    third = window.heard_s / 3
    low, high = round((window.start_s + third) / FRAME_S), round((window.start_s + 2 * third) / FRAME_S)
    if window.heard_s < _LEAST_HALVED_S or not len(probabilities[low:high]):
        return None
    at_s = (low + int(np.argmin(probabilities[low:high])) + 0.5) * FRAME_S
    return Window(window.start_s, at_s), Window(at_s, window.end_s)


def _parts(span: Span, probabilities: npt.NDArray[np.float32], most_s: float) -> list[Span]:
    """The span itself, or its pieces if it is longer than a window and has a dip."""
    pieces, start = [], span.start_s
    while span.end_s - start > most_s:
        low = round((start + most_s - _SEARCH_S) / FRAME_S)
        high = round((start + most_s) / FRAME_S)
        dip = low + int(np.argmin(probabilities[low:high]))
        if probabilities[dip] > _DIP:
            break
        pieces.append(Span(start, (dip + 0.5) * FRAME_S))
        start = (dip + 0.5) * FRAME_S
    return [*pieces, Span(start, span.end_s)]
