"""Pure: Whisper's tokens with timestamps → timed pieces, and where in the audio to go on listening.

The grammar of timestamps is that of openai/whisper (`transcribe.py`): <|start|> text <|end|> <|start|> text <|end|>;
two timestamps at the very end say that there is more to hear from there on, a single one that all was heard.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from golem_chain.workers.stages.scribe.whisper.decoding import TIME_STEP_S


@dataclass(frozen=True)
class Piece:
    """Tokens of text between two timestamps, seconds from the beginning of the window."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]
    first: int  # the place of its first token among all tokens of text


def pieces(tokens: Sequence[int], first_time: int, length_s: float) -> list[Piece]:
    """The timed pieces of a window of that length; what follows the last timestamp reaches to the end."""
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
    """Where the model wants to go on: how many of its tokens to keep, and seconds into the window.

    That is at a pair of timestamps at the end; for a text that was stopped by the length limit (`full`) at its last
    pair; None where all was heard or no time is known.
    """
    for at in range(len(tokens) - 1, 0, -1):
        if tokens[at] >= first_time and tokens[at - 1] >= first_time:
            return at, (tokens[at] - first_time) * TIME_STEP_S
        if not full:
            break
    return None


def last_time(tokens: Sequence[int], first_time: int) -> float | None:
    """The last timestamp, seconds into the window; None where there is none but the first."""
    times = [token for token in tokens[1:] if token >= first_time]
    return (times[-1] - first_time) * TIME_STEP_S if times else None
