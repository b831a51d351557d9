"""Pure: how much of Whisper's 30 s the encoder computes in the fast mode, and which words that mode does not vouch for.

Whisper was trained on 30 s, most of it padding for a short clip, and the encoder's cost is that of all of it. With much
less padding it begins to repeat itself (word error rates of 60 % and more where two seconds are left), and now and then
with more: what looks like that is heard again with all of it. Word error rates of tiny.en on 34 recorded sentences:
with 30 s 5.0 %, with these 20 s 5.3 %, with 15 s 5.6 %, with 12 s 6.2 %.
"""

import math
from collections.abc import Sequence

from golem_chain.workers.stages.scribe import guards
from golem_chain.workers.stages.scribe.audio.windows import WINDOW_S

#: Seconds that are always computed, and seconds of padding kept behind a clip.
LEAST_S = 20.0
PAD_S = 8.0
FRAMES_PER_S = 100
#: Speech has 3 to 4 tokens a second; more than this, beside some at once, is not read from the sound.
_FASTEST = (8.0, 5.5)
_LOGPROB = -1.0
_LOOP_WORDS, _LOOP_TIMES = 3, 3


def seconds(heard_s: Sequence[float], full_s: float = WINDOW_S) -> float:
    """What is computed for a batch of windows of those lengths, seconds, an even number of feature frames."""
    longest = max(max(heard_s, default=0.0) + PAD_S, LEAST_S)
    return min(math.ceil(longest * FRAMES_PER_S / 2) * 2 / FRAMES_PER_S, full_s)


def doubtful(text: str, tokens: int, avg_logprob: float, heard_s: float) -> bool:
    """Does a text from less context need to be heard again with all of it?"""
    words = text.lower().split()
    grams = [tuple(words[at : at + _LOOP_WORDS]) for at in range(len(words) - _LOOP_WORDS + 1)]
    return (
        tokens > _FASTEST[0] + _FASTEST[1] * heard_s
        or avg_logprob < _LOGPROB
        or guards.compression_ratio(text) > guards.LOOP_RATIO
        or any(grams.count(gram) >= _LOOP_TIMES for gram in set(grams))
    )
