"""Splits Whisper's tokens at timestamps into timed pieces, and finds where transcription should resume. Pure.

The timestamp grammar and its reading are those of openai/whisper (`transcribe.py`): <|start|> text <|end|> <|start|>
text <|end|>. A single timestamp at the very end means that the audio is complete. Otherwise it continues from the last
pair of timestamps: text after that pair has no end, so it is dropped and heard again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from golem_chain.workers.stages.scribe.whisper.decoding import TIME_STEP_S


@dataclass(frozen=True)
class Piece:
    """The text tokens between two timestamps, which are in seconds from the start of the window."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]
    first: int  # index of its first token among all text tokens


def pieces(tokens: Sequence[int], first_time: int, length_s: float) -> list[Piece]:
    """The timed pieces of a window of length `length_s`; text after the last timestamp extends to the end."""
    found: list[Piece] = []
    text: list[int] = []
    start, count = 0.0, 0
    for token in [*tokens, first_time + round(length_s / TIME_STEP_S)]:
        if token < first_time:
            text.append(token)
            continue
        at = min((token - first_time) * TIME_STEP_S, length_s)
        if text:
            found.append(Piece(start, max(at, start), tuple(text), count))
        count += len(text)
        text, start = [], at
    return found


def resume(tokens: Sequence[int], first_time: int, full: bool) -> tuple[int, float] | None:
    """Where to resume: the number of tokens to keep, and seconds into the window. This is at the last pair of
    timestamps, or at a single timestamp at the end of a text stopped by the length limit (`full`). None if the audio is
    complete or there is no such place."""
    times = [token >= first_time for token in tokens]
    if times[-2:] == [False, True]:
        return (len(tokens), (tokens[-1] - first_time) * TIME_STEP_S) if full else None
    for at in range(len(tokens) - 1, 0, -1):
        if times[at] and times[at - 1]:
            return at, (tokens[at] - first_time) * TIME_STEP_S
    return None


def last_time(tokens: Sequence[int], first_time: int) -> float | None:
    """The last timestamp, seconds into the window; None if there is none after the first token."""
    times = [token for token in tokens[1:] if token >= first_time]
    return (times[-1] - first_time) * TIME_STEP_S if times else None
