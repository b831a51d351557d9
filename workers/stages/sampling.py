"""Sampling of the next token of many rows at once, on their device: each row has its rules, and no step waits for the
host.

The processors and their order are those of transformers' `generate`: n-grams, temperature, top-k, top-p. The choice is
Gumbel-max (Gumbel 1954; Maddison, Tarlow and Minka, "A* Sampling", 2014): the token with the highest logit plus noise,
which samples the softmax exactly. The noise is a function of (seed, step, token) alone, so a row's choice does not
depend on its batch, its device or the random state of the process. The last bits of the logits differ between batch
sizes; they change the choice only if two sums are that close.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as int64, which wraps around like the unsigned words of the paper
#: Candidates beside the top k: tokens whose logit equals that of the k-th are allowed too, as in transformers. In
#: bfloat16 there are a few.
_TIES = 14


@dataclass(frozen=True)
class Rules:
    """Sampling parameters of one row; 0 turns a rule off."""

    max_new_tokens: int
    temperature: float  # 0: greedy
    top_k: int
    top_p: float  # 1.0: off
    no_repeat_ngram_size: int


@dataclass(frozen=True)
class RowRules:
    """The rules of rows as vectors on a device, (rows,) each. Rows whose rules differ share a step."""

    temperature: torch.Tensor  # float32; 1 for greedy rows
    greedy: torch.Tensor  # bool
    top_k: torch.Tensor  # int64, 0: off
    cut: torch.Tensor  # float32: tokens that add up to this probability, from the least likely on, are left out
    ngram: torch.Tensor  # int64, 0: off
    seed: torch.Tensor  # int64

    @classmethod
    def of(cls, rules: Sequence[Rules], seeds: Sequence[int], device: torch.device) -> "RowRules":
        """Two uploads for all vectors."""
        whole = torch.tensor(
            [[row.top_k, row.no_repeat_ngram_size, seed] for row, seed in zip(rules, seeds, strict=True)], device=device
        ).reshape(-1, 3)
        parts = torch.tensor(
            [[row.temperature, 1 - row.top_p if row.top_p < 1 else -1.0] for row in rules], device=device
        ).reshape(-1, 2)
        greedy = parts[:, 0] == 0
        return cls(
            parts[:, 0].masked_fill(greedy, 1.0), greedy, whole[:, 0].clone(), parts[:, 1].clone(),
            whole[:, 1].clone(), whole[:, 2].clone(),
        )  # fmt: skip

    def first(self, count: int) -> "RowRules":
        """Those of the first rows: views."""
        return RowRules(*(one[:count] for one in self.vectors))

    @property
    def vectors(self) -> tuple[torch.Tensor, ...]:
        """All vectors, in the order of the fields."""
        return self.temperature, self.greedy, self.top_k, self.cut, self.ngram, self.seed


@dataclass(frozen=True)
class Plan:
    """What the host knows of the rows' rules, and a step needs to know before it begins: which parts to compute."""

    greedy: bool  # any row is
    sampled: bool  # any row is
    candidates: int  # tokens to look at in each row; 0: all
    ngram: int  # the largest size; 0: no row has the rule

    @classmethod
    def of(cls, rules: Sequence[Rules]) -> "Plan":
        """Pure."""
        sampled = [row for row in rules if row.temperature > 0]
        unlimited = any(row.top_k == 0 for row in sampled)
        most = max((row.top_k for row in sampled), default=0)
        return cls(
            greedy=len(sampled) < len(rules),
            sampled=bool(sampled),
            candidates=0 if unlimited or not sampled else most + _TIES,
            ngram=max((row.no_repeat_ngram_size for row in rules), default=0),
        )


def choose(logits: torch.Tensor, rules: RowRules, step: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Sample the next token of each row: (rows,) int64, -1 for a row whose logits are not finite.

    `logits` are (rows, vocabulary) float32 with -inf for tokens that are not allowed, `step` (rows,) int64, the number
    of tokens that each row has chosen before."""
    if not plan.sampled:
        best = logits.max(dim=1)
        return _marked(best.indices, best.values)
    ids, scores = allowed(logits, rules, plan)
    sums = scores.double() + noise(rules.seed, step, ids)
    token = ids.gather(1, sums.argmax(1, keepdim=True)).squeeze(1)
    if plan.greedy:
        token = torch.where(rules.greedy, logits.argmax(1), token)
    return _marked(token, scores[:, -1])


def _marked(token: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """-1 in place of the tokens of rows whose best logit is not finite: it is NaN if any logit is."""
    return torch.where(best.isfinite(), token, -1)


def allowed(logits: torch.Tensor, rules: RowRules, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates of each row, the likeliest last, and their scores, -inf for those that its rules leave out: (rows, n)
    int64 and float32. What is no candidate is left out too."""
    found = logits.topk(min(plan.candidates or logits.shape[1], logits.shape[1]))
    values = found.values / rules.temperature[:, None]
    last = values.gather(1, (rules.top_k - 1).clamp_(0, values.shape[1] - 1)[:, None])
    last.masked_fill_((rules.top_k == 0)[:, None], -torch.inf)
    scores = values.masked_fill(values < last, -torch.inf).flip(1)
    low = scores.softmax(1).cumsum(1) <= rules.cut[:, None]
    low[:, -1:].fill_(False)
    return found.indices.flip(1), scores.masked_fill_(low, -torch.inf)


def ban_repeats(logits: torch.Tensor, seen: torch.Tensor, length: torch.Tensor, ngram: torch.Tensor, most: int) -> None:
    """Set the logits of tokens that would repeat an n-gram of the row to -inf, in place, unless that would be all.

    `seen` is (rows, places) int64, the row's tokens with its prompt, of which the first `length`, (rows,), count;
    `ngram` (rows,), 0 for no rule; `most` is the largest of them."""
    places = torch.arange(seen.shape[1], device=seen.device)
    repeats = (places < length[:, None]) & (places >= ngram[:, None] - 1) & (ngram > 0)[:, None]
    for back in range(1, min(most, seen.shape[1])):  # whether the token so many places before is the row's own
        own = seen.gather(1, (length - back).clamp_(min=0)[:, None])
        repeats &= (seen.roll(back, 1) == own) | (back >= ngram)[:, None]
    ban = torch.zeros_like(logits)
    ban.scatter_reduce_(1, seen, torch.where(repeats, -torch.inf, 0.0).to(logits.dtype), "amin")
    all_banned = (logits + ban).amax(1, keepdim=True) == -torch.inf
    logits += ban.masked_fill_(all_banned, 0.0)


def noise(seed: torch.Tensor, step: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise for tokens, (rows, n) float64, with SplitMix64 (Steele, Lea and Flood 2014) as the hash.
    `seed` is (rows,), `step` (rows,) or (1,), `ids` (rows, n) or (n,): all int64."""
    mixed = _mixed(_mixed(seed + (step + 1) * _GOLDEN)[:, None] + ids * _GOLDEN)
    uniform = (_right(mixed, 11).double() + 0.5) * 2.0**-53
    return uniform.log_().neg_().log_().neg_()


def _right(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift right as unsigned words are."""
    return (words >> bits).bitwise_and_(2 ** (64 - bits) - 1)


def _mixed(words: torch.Tensor) -> torch.Tensor:
    words = (words ^ _right(words, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    words = (words ^ _right(words, 27)) * (0x94D049BB133111EB - 2**64)
    return words ^ _right(words, 31)
