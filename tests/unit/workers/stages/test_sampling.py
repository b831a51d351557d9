"""Sampling on the device: the tokens that transformers allows, and a choice that depends on the row alone."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from golem_chain.workers.stages.sampling import Plan, RowRules, Rules, allowed, ban_repeats, choose, noise

CPU = torch.device("cpu")


def drawn_rules(draw: np.random.Generator, *, top_k: Sequence[int] = (0, 1, 5, 50, 900)) -> Rules:
    return Rules(
        40, float(draw.choice([0.3, 0.7, 1.0, 1.8])), int(draw.choice(top_k)),
        float(draw.choice([0.1, 0.5, 0.95, 1.0])), int(draw.choice([0, 1, 2, 3])),
    )  # fmt: skip


def theirs(logits: torch.Tensor, tokens: list[int], rules: Rules) -> torch.Tensor:
    """The probabilities of the next token by the processors of transformers."""
    steps: list[object] = []
    if rules.no_repeat_ngram_size:
        steps.append(NoRepeatNGramLogitsProcessor(rules.no_repeat_ngram_size))
    steps.append(TemperatureLogitsWarper(rules.temperature))
    if rules.top_k:
        steps.append(TopKLogitsWarper(rules.top_k))
    if rules.top_p < 1:
        steps.append(TopPLogitsWarper(rules.top_p))
    found: torch.Tensor = LogitsProcessorList(steps)(torch.tensor([tokens]), logits[None].clone())[0].softmax(0)
    return found


def banned(tokens: list[int], size: int, vocabulary: int = 10) -> set[int]:
    logits = torch.zeros(1, vocabulary)
    seen = torch.tensor([tokens + [7] * 5])
    ban_repeats(logits, seen, torch.tensor([len(tokens)]), torch.tensor([size]), size)
    return {place for place, value in enumerate(logits[0].tolist()) if value == -math.inf}


def gumbel(seed: int, step: int, ids: np.ndarray) -> np.ndarray:
    """Standard Gumbel noise with SplitMix64 as its authors write it, in unsigned words: (n,) float64."""
    row = np.array([(seed + (step + 1) * 0x9E3779B97F4A7C15) & (2**64 - 1)], dtype=np.uint64)
    mixed = _mix(_mix(row) + ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    drawn: np.ndarray = -np.log(-np.log(uniform))
    return drawn


def _mix(words: np.ndarray) -> np.ndarray:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = words ^ (words >> np.uint64(31))
    return mixed


def picked(logits: torch.Tensor, rules: Sequence[Rules], seeds: Sequence[int], steps: Sequence[int]) -> list[int]:
    found = choose(logits, RowRules.of(rules, seeds, CPU), torch.tensor(list(steps)), Plan.of(rules))
    return [int(token) for token in found]


@pytest.mark.parametrize("top_k", [(0, 5), (1, 5, 50, 900)], ids=["some without top-k", "all with top-k"])
@pytest.mark.parametrize("seed", range(8))
def test_the_allowed_tokens_of_rows_with_other_rules_are_those_of_transformers(seed: int, top_k: list[int]) -> None:
    made, draw = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    rows = [drawn_rules(draw, top_k=top_k) for _ in range(6)]
    logits = torch.randn(6, 700, generator=made) * 3
    lengths = [60, 2, 1, 40, 60, 33]
    tokens = [torch.randint(0, 12, (length,), generator=made).tolist() for length in lengths]
    vectors, plan = RowRules.of(rows, [1] * 6, CPU), Plan.of(rows)
    ours = logits.clone()
    seen = torch.tensor([one + [3] * (64 - len(one)) for one in tokens])
    ban_repeats(ours, seen, torch.tensor(lengths), vectors.ngram, plan.ngram)
    ids, scores = allowed(ours, vectors, plan)
    mine = torch.zeros(6, 700).scatter_(1, ids, scores.softmax(1))
    for row in range(6):
        expected = theirs(logits[row], tokens[row], rows[row])
        assert torch.equal(mine[row] > 0, expected > 0)
        torch.testing.assert_close(mine[row], expected)


def test_a_repeated_pair_is_banned_and_nothing_else() -> None:
    assert banned([1, 2, 3, 1], 2) == {2}
    assert banned([1, 2, 3, 1, 4, 1], 2) == {2, 4}
    assert banned([1, 2, 3], 1) == {1, 2, 3}
    assert banned([1, 2, 3, 1, 2], 3) == {3}
    assert banned([1, 2], 0) == banned([1], 3) == set()
    assert banned([0, 1, 2], 1, vocabulary=8) == {0, 1, 2}, "what lies beyond the row's length does not count"
    assert banned([1, 2, 3], 9999) == set()
    assert banned(list(range(8)), 1, vocabulary=8) == set(), "where all is banned, nothing is"


def test_the_choice_follows_the_probabilities() -> None:
    logits = torch.full((4000, 600), -torch.inf)
    logits[:, [3, 9, 500]] = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    rules = [Rules(40, 1.0, 0, 1.0, 0)] * 4000
    for seeds, steps in ((range(4000), [0] * 4000), ([7] * 4000, range(4000))):
        found = picked(logits, rules, seeds, steps)
        assert [found.count(token) / 4000 for token in (3, 9, 500)] == pytest.approx([0.5, 0.3, 0.2], abs=0.035)


def test_the_noise_is_that_of_a_host_with_unsigned_words() -> None:
    seeds, steps = [0, 1, 2**63 - 1], [0, 5, 1023]
    ids = torch.arange(0, 200_000, 7).expand(3, -1)
    found = noise(torch.tensor(seeds), torch.tensor(steps), ids)
    for row in range(3):
        expected = gumbel(seeds[row], steps[row], ids[row].numpy())
        np.testing.assert_allclose(found[row].numpy(), expected, rtol=1e-14)
    assert float(found.mean()) == pytest.approx(0.5772, abs=0.02)
    assert float(found.std()) == pytest.approx(math.pi / math.sqrt(6), abs=0.02)
    assert abs(float(np.corrcoef(found[0], found[1])[0, 1])) < 0.02


def test_a_row_chooses_the_same_alone_and_beside_rows_with_other_rules() -> None:
    made, draw = torch.Generator().manual_seed(1), np.random.default_rng(1)
    rows = [drawn_rules(draw) for _ in range(14)] + [Rules(40, 0, 50, 0.5, 0), Rules(40, 0, 0, 1.0, 0)]
    logits, seeds, steps = torch.randn(16, 700, generator=made) * 3, list(range(16)), list(range(5, 21))
    alone = [picked(logits[n : n + 1], rows[n : n + 1], [seeds[n]], [steps[n]])[0] for n in range(16)]
    assert picked(logits, rows, seeds, steps) == alone
    assert alone[14:] == logits[14:].argmax(1).tolist()


@pytest.mark.parametrize("rules", [Rules(40, 0, 0, 1.0, 0), Rules(40, 0.3, 50, 0.95, 0), Rules(40, 1.0, 0, 1.0, 0)])
def test_only_a_row_with_numbers_that_are_not_finite_is_marked(rules: Rules) -> None:
    logits = torch.randn(5, 700)
    logits[1, 600], logits[2, 3], logits[3] = math.nan, math.inf, -math.inf
    logits[4, :690] = -math.inf
    found = picked(logits, [rules] * 5, range(5), [0] * 5)
    assert [token < 0 for token in found] == [False, True, True, True, False]


def test_last_bits_of_the_logits_hardly_ever_change_the_choice() -> None:
    """Another batch size changes float32 logits by about 1e-5: fewer than one choice in 10,000 may change."""
    made = torch.Generator().manual_seed(1)
    rules = [Rules(40, 1.0, 50, 0.95, 0)] * 5000
    logits = torch.randn(5000, 2000, generator=made) * 3
    moved = logits + (torch.rand(5000, 2000, generator=made) - 0.5) * 2e-5
    first, second = (picked(given, rules, range(5000), [0] * 5000) for given in (logits, moved))
    assert sum(one != other for one, other in zip(first, second, strict=True)) <= 1
