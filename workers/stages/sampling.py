"""Sampling of the next token: the rules of one row, its allowed tokens, and the choice among them.

The processors and their order are those of transformers' `generate`: n-grams, temperature, top-k, top-p. The choice is
Gumbel-max (Gumbel 1954; Maddison, Tarlow and Minka, "A* Sampling", 2014): the token with the highest logit plus noise,
which samples the softmax exactly. The noise is a function of (seed, step, token) alone, so a row's choice does not
depend on its batch, its device or the random state of the process. The last bits of the logits differ between batch
sizes; they change the choice only if two sums are that close.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

_WORD = 2**64 - 1


@dataclass(frozen=True)
class Rules:
    """Sampling parameters of one row; 0 turns a rule off."""

    max_new_tokens: int
    temperature: float  # 0: greedy
    top_k: int
    top_p: float  # 1.0: off
    no_repeat_ngram_size: int


def banned(tokens: Sequence[int], size: int) -> set[int]:
    """Tokens that would repeat an n-gram of that size, counting the prompt. Pure."""
    if size <= 0 or len(tokens) + 1 < size:
        return set()
    last = tuple(tokens[len(tokens) - size + 1 :])
    starts = range(len(tokens) - size + 1)
    return {tokens[start + size - 1] for start in starts if tuple(tokens[start : start + size - 1]) == last}


def allowed(
    logits: torch.Tensor, tokens: Sequence[int], rules: Rules, never: Sequence[int] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens allowed next, ascending, and their logits: (n,) int64, (n,) float32. Pure.

    `logits` is (vocabulary,) float32, `tokens` the row so far including the prompt; tokens in `never` are excluded.
    """
    out = banned(tokens, rules.no_repeat_ngram_size) | set(never)
    if out and len(out) < len(logits):
        logits = logits.clone()
        logits[list(out)] = -torch.inf
    if rules.temperature == 0:
        best = logits.argmax(keepdim=True)
        return best, logits[best]
    scaled = logits / rules.temperature
    if 0 < rules.top_k < len(scaled):
        kept = (scaled >= scaled.topk(rules.top_k).values[-1]) & (scaled > -torch.inf)
    else:
        kept = scaled > -torch.inf
    ids = kept.nonzero().squeeze(1)
    scores = scaled[ids]
    if rules.top_p < 1:
        order = scores.argsort()
        low = scores[order].softmax(0).cumsum(0) <= 1 - rules.top_p
        low[-1] = False
        ids = ids[order[~low]].sort().values
        scores = scaled[ids]
    return ids, scores


def choose(ids: torch.Tensor, scores: torch.Tensor, seed: int, step: int) -> int:
    """Sample one of the tokens from the softmax of their scores. Pure."""
    if len(ids) == 1:
        return int(ids[0])
    return int(ids[int((scores.double().numpy() + gumbel(seed, step, ids.numpy())).argmax())])


def gumbel(seed: int, step: int, ids: np.ndarray) -> np.ndarray:
    """Standard Gumbel noise for tokens, (n,) float64, with SplitMix64 (Steele, Lea and Flood 2014) as the hash."""
    row = np.array([(seed + (step + 1) * 0x9E3779B97F4A7C15) & _WORD], dtype=np.uint64)
    mixed = _mix(_mix(row) + ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    noise: np.ndarray = -np.log(-np.log(uniform))
    return noise


def _mix(words: np.ndarray) -> np.ndarray:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = words ^ (words >> np.uint64(31))
    return mixed
