"""The fast mode: how much of Whisper's 30 s the encoder computes, and which results need the full context. Pure.

Whisper was trained on 30 s windows. For a short clip most of that is padding, but the encoder computes all of it. With
much less padding Whisper starts to repeat itself (word error rates of 60 % and more with two seconds of padding), and
occasionally with more. Results that look like that are decoded again with the full context. Word error rates of tiny.en
on 34 recorded sentences: 5.0 % with 30 s, 5.3 % with the 20 s used here, 5.6 % with 15 s, 6.2 % with 12 s.
"""

import math

from golem_chain.workers.stages.scribe.audio.windows import WINDOW_S
from golem_chain.workers.stages.scribe.guards import SUSPICIOUS_RATIO
from golem_chain.workers.stages.scribe.repeats import redundancy

#: Minimum seconds to compute, and seconds of padding after a clip; more is computed in steps, so that windows of
#: similar lengths share a batch.
LEAST_S = 20.0
PAD_S = 8.0
STEP_S = 2.5
FRAMES_PER_S = 100
#: Limit on the tokens of a window, (constant, per second): speech has 3 to 4 tokens per second.
_FASTEST = (8.0, 5.5)
_LOGPROB = -1.0
_LOOP_WORDS, _LOOP_TIMES = 3, 3


def seconds(heard_s: float, full_s: float = WINDOW_S) -> float:
    """Seconds to compute for a window of this length, whatever it shares a batch with; an even number of feature
    frames."""
    return min(max(math.ceil((heard_s + PAD_S) / STEP_S) * STEP_S, LEAST_S), full_s)


def doubtful(text: str, tokens: int, avg_logprob: float, heard_s: float) -> bool:
    """Whether a text decoded with a short context should be decoded again with the full one."""
    words = text.lower().split()
    grams = [tuple(words[at : at + _LOOP_WORDS]) for at in range(len(words) - _LOOP_WORDS + 1)]
    return (
        tokens > _FASTEST[0] + _FASTEST[1] * heard_s
        or avg_logprob < _LOGPROB
        or redundancy(text) > SUSPICIOUS_RATIO
        or any(grams.count(gram) >= _LOOP_TIMES for gram in set(grams))
    )
