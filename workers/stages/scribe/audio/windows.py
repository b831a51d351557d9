"""Pure: where a long recording is cut into windows that Whisper can hear, so that no word is cut, lost or doubled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golem_chain.workers.stages.scribe.audio.speech import FRAME_S, MARGIN_S, Span, voiced_between

#: What Whisper's encoder sees at once.
WINDOW_S = 30.0
#: A pause of this length ends an utterance; within one people pause for less.
UTTERANCE_PAUSE_S = 0.8
#: Voice without a pause may be cut at a dip within these last seconds of a window.
_SEARCH_S = 12.0
#: p(voice) of a frame that may be cut: a stop between two words is that low, a vowel is not.
_DIP = 0.35
#: Less voice than this behind the model's last timestamp is the tail of a word that it has heard.
_TAIL_S = 0.4
#: So much voice after a text that claims to be complete was skipped over.
_SKIPPED_S = 1.5
#: Going on must take at least this much of the window, or the model could stay where it is for ever.
_PROGRESS_S = 1.0


@dataclass(frozen=True)
class Window:
    """A stretch of the recording, seconds. Longer than WINDOW_S only where nobody pauses: the model then hears its
    beginning and says by a timestamp where to go on."""

    start_s: float
    end_s: float

    @property
    def heard_s(self) -> float:
        """Seconds that fit into the model at once."""
        return min(self.end_s - self.start_s, WINDOW_S)


def cut(
    spans: Sequence[Span], probabilities: npt.NDArray[np.float32], duration_s: float, most_s: float = WINDOW_S
) -> list[Window]:
    """Windows that cover every span of voice once, in order and without overlap.

    A recording that fits is one window, pauses and all. A longer one is cut in the middle of its pauses, as late as
    possible; where a span is longer than a window, it is cut at its least voiced frame if that is no voice, and else
    stays whole.
    """
    if duration_s <= most_s:
        return [Window(0.0, duration_s)]
    windows: list[Window] = []
    floor = 0.0  # where the previous window ended
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
    """Windows that hold one utterance each: a recording that fits is one, a longer one is cut at every long pause."""
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
    """What of a window is still to be heard, or None.

    `at_s`: where the model wants to go on, `last_s`: its last timestamp, both in seconds into the window, or None. It
    goes on only where voice is left, so that a trailing silence is not heard again.
    """
    if at_s is not None and at_s >= _PROGRESS_S:
        start, least = window.start_s + at_s, _TAIL_S
    elif window.end_s - window.start_s > WINDOW_S:  # it said nothing of the time: on with what it has not seen
        start, least = window.start_s + WINDOW_S, 0.0
    elif last_s is not None and last_s >= _PROGRESS_S:
        start, least = window.start_s + last_s, _SKIPPED_S
    else:
        return None
    return Window(start, window.end_s) if voiced_between(spans, start, window.end_s) > least else None


def _parts(span: Span, probabilities: npt.NDArray[np.float32], most_s: float) -> list[Span]:
    """The span itself, or its pieces where it is longer than a window and dips somewhere."""
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
