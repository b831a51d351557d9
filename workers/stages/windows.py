"""Pure: where a long recording is cut into windows that Whisper can hear, so that no word is cut, lost or doubled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.stages.ear import FRAME_S, MARGIN_S, Span

#: What Whisper's encoder sees at once.
WINDOW_S = 30.0
#: A span of voice without a pause is cut at its least voiced frame within these last seconds of a window.
_SEARCH_S = 8.0


@dataclass(frozen=True)
class Window:
    """What is given to the model at once, seconds."""

    start_s: float
    end_s: float


def cut(
    spans: Sequence[Span], probabilities: npt.NDArray[np.float32], duration_s: float, most_s: float = WINDOW_S
) -> list[Window]:
    """Windows of at most `most_s` that cover every span of voice once, in order and without overlap.

    A recording that fits is one window, pauses and all. A longer one is cut in the middle of its pauses, as late as
    possible; where a window would end within a span, that is cut at its least voiced frame.
    """
    if duration_s <= most_s:
        return [Window(0.0, duration_s)]
    windows: list[Window] = []
    floor = 0.0  # where the previous window ended
    parts = [part for span in spans for part in _parts(span, probabilities, most_s - 2 * MARGIN_S)]
    while parts:
        start = max(floor, parts[0].start_s - MARGIN_S)
        count = sum(1 for part in parts if part.end_s + MARGIN_S - start <= most_s) or 1
        end = min(parts[count - 1].end_s + MARGIN_S, duration_s)
        if count < len(parts):
            end = min(end, (parts[count - 1].end_s + parts[count].start_s) / 2)
        windows.append(Window(start, end))
        floor, parts = end, parts[count:]
    return windows


def _parts(span: Span, probabilities: npt.NDArray[np.float32], most_s: float) -> list[Span]:
    """The span itself, or its pieces where it is longer than a window."""
    pieces, start = [], span.start_s
    while span.end_s - start > most_s:
        low = round((start + most_s - _SEARCH_S) / FRAME_S)
        high = round((start + most_s) / FRAME_S)
        at = (low + int(np.argmin(probabilities[low:high]))) * FRAME_S
        pieces.append(Span(start, at))
        start = at
    return [*pieces, Span(start, span.end_s)]
