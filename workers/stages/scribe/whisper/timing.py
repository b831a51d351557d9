"""Word times from the decoder's cross-attention. Pure.

Dynamic time warping (Sakoe and Chiba, 1978) finds a path through the attention weights of the alignment heads, (tokens,
frames); tokens are grouped into words, and words are limited to the voice. Source of the method: openai/whisper,
`timing.py`. The limit to the voice is our addition, since attention lets a word extend into the pause after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golem_chain.shared.records import Word
from golem_chain.workers.stages.scribe.audio.speech import Span, spans_between

FRAME_S = 0.02  # of the encoder
#: Width of the median filter, frames. Source: openai/whisper.
_SMOOTH = 7
#: Languages without blanks between words: every token that completes a character counts as a word.
UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
#: The detector's spans start this much late and end this much early, seconds.
_SOFT_S = 0.1
#: A shorter overlap of a word with a span is the edge of the neighbouring word, seconds.
_LEAST_S = 0.06
#: A word that ends with one of these is followed by a pause.
_PAUSES = frozenset(".,;:!?…。！？、，")


@dataclass(frozen=True)
class TokenTime:
    """A token's time, in seconds from the start of the window, and its probability."""

    start_s: float
    end_s: float
    prob: float


@dataclass(frozen=True)
class WordPiece:
    """A word of the text, trimmed, and its number of tokens."""

    text: str
    tokens: int


def smooth(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A median filter of width seven along the last axis, mirrored at the ends; too few columns stay unchanged."""
    half = _SMOOTH // 2
    if weights.shape[-1] <= half:
        return weights
    padded = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(half, half)], mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, _SMOOTH, axis=-1)
    return np.asarray(np.partition(around, half, axis=-1)[..., half], np.float32)


def first_frames(cost: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """The cheapest monotonic path from corner to corner through the cost, (rows, columns): the first column of each row
    on the path. Computed by anti-diagonals, whose cells are independent of each other."""
    rows, columns = cost.shape
    moves = np.full((rows + 1, columns + 1), 2, np.int8)  # 0: diagonal, 1: from the previous row, 2: previous column
    moves[:, 0] = 1
    total = np.full((rows + columns + 1, rows + 1), np.inf)  # by anti-diagonal and row: cell (i, j) is [i + j, i]
    total[0, 0] = 0.0
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        both, row, column = total[diagonal - 2, i - 1], total[diagonal - 1, i - 1], total[diagonal - 1, i]
        move = np.where((both < row) & (both < column), 0, np.where((row < both) & (row < column), 1, 2))
        moves[i, diagonal - i] = move
        total[diagonal, i] = cost[i - 1, diagonal - i - 1] + np.choose(move, (both, row, column))
    found = np.zeros(rows, np.int64)
    i, j = rows, columns
    while i > 0 and j > 0:
        found[i - 1] = j - 1
        move = moves[i, j]
        i, j = i - (move != 2), j - (move != 1)
    return found


def word_pieces(tokens: Sequence[int], decode: Callable[[Sequence[int]], str], language: str | None) -> list[WordPiece]:
    """Group the tokens of a text into words: tokens of an incomplete character are joined first, then tokens without a
    leading blank. Punctuation stays with its word."""
    spaced = language not in UNSPACED
    found: list[WordPiece] = []
    held: list[int] = []
    for at, token in enumerate(tokens):
        held.append(token)
        text = decode(held)
        if "\ufffd" in text and at + 1 < len(tokens):
            continue
        joins = not text.startswith(" ") if spaced else not any(map(str.isalnum, text))
        if found and joins:
            found[-1] = WordPiece(found[-1].text + text, found[-1].tokens + len(held))
        else:
            found.append(WordPiece(text, len(held)))
        held = []
    return [WordPiece(piece.text.strip(), piece.tokens) for piece in found]


def words(
    found: Sequence[WordPiece], times: Sequence[TokenTime], window_start_s: float, spans: Sequence[Span]
) -> tuple[Word, ...]:
    """The words with their times in the recording, each limited to the voice. `times` are those of the tokens, `spans`
    the voice in the recording."""
    made: list[Word] = []
    at = 0
    for piece in found:
        own = times[at : at + piece.tokens]
        at += piece.tokens
        if not piece.text or not own:
            continue
        start_s, end_s = window_start_s + own[0].start_s, window_start_s + own[-1].end_s
        start_s, end_s = kept(start_s, end_s, spans, last=piece.text[-1] in _PAUSES)
        prob = sum(time.prob for time in own) / len(own)
        made.append(Word(word=piece.text, start_s=round(start_s, 2), end_s=round(end_s, 2), prob=round(prob, 4)))
    return tuple(made)


def kept(start_s: float, end_s: float, spans: Sequence[Span], *, last: bool) -> tuple[float, float]:
    """Limit a word's time to its voice: to the first span if it is the `last` word before a pause, otherwise to the
    span with the largest overlap. A word that overlaps no span keeps its time."""
    around = spans_between(spans, start_s - _SOFT_S, end_s + _SOFT_S)
    parts = [(max(start_s, span.start_s - _SOFT_S), min(end_s, span.end_s + _SOFT_S)) for span in around]
    parts = [part for part in parts if part[1] - part[0] >= min(_LEAST_S, end_s - start_s)]
    if last and parts:
        return parts[0]
    return max(parts, key=lambda part: part[1] - part[0], default=(start_s, end_s))
