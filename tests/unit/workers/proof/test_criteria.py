"""By what figures a form answers like float32, and by what it does not."""

import math

import pytest

from golem_chain.workers.proof import criteria
from golem_chain.workers.proof.criteria import Compared, Decision, Heard

SAID = [Heard(f"turn on light number {number} in the long hall", "en") for number in range(60)]


def test_a_scribe_that_hears_the_same_words_passes_whatever_their_case_and_punctuation() -> None:
    answers = [Heard(one.text.title() + "!", "en") for one in SAID]
    found = criteria.scribe(SAID, answers)
    assert not found.failed
    assert found.figures["word error rate"] == 0


def test_a_scribe_may_change_one_word_in_two_hundred_and_no_more() -> None:
    count = criteria.scribe(SAID, SAID).figures["words"]
    most = int(count * criteria.WORD_ERRORS)
    for wrong, passes in ((most, True), (most + 1, False)):
        answers = [
            Heard(one.text.replace("hall", "wall") if n < wrong else one.text, "en") for n, one in enumerate(SAID)
        ]
        assert (not criteria.scribe(SAID, answers).failed) is passes


def test_a_scribe_that_empties_a_single_text_fails_even_where_its_rate_would_pass() -> None:
    said = [Heard("yes", "en"), *SAID, *SAID]
    found = criteria.scribe(said, [Heard("", "en"), *said[1:]])
    assert found.figures["word error rate"] < criteria.WORD_ERRORS
    assert "empties 1" in found.failed


def test_text_that_float32_did_not_hear_counts_as_errors() -> None:
    silent = [*SAID, Heard("", "en")]
    assert criteria.scribe(silent, [*SAID, Heard("thank you very much indeed", "en")]).failed


def test_a_failure_is_known_before_all_is_answered_and_final() -> None:
    wrong = [Heard("something else entirely", "en")]
    assert criteria.scribe(SAID, wrong).failed
    assert criteria.scribe(SAID, [*wrong, *SAID[1:]]).failed
    assert not criteria.scribe(SAID, SAID[:10]).failed


def decision(label: str = "a", first: float = 0.8, margin: float = 0.6) -> Decision:
    return Decision(label, first, {"a": first, "b": 1 - first}, margin)


ASKED = [decision() for _ in range(150)]


def test_an_interpreter_may_not_change_a_label_that_float32_was_sure_of() -> None:
    assert not criteria.interpreter(ASKED, ASKED).failed
    other = Decision("b", 0.8, {"a": 0.8, "b": 0.2})
    found = criteria.interpreter(ASKED, [other, *ASKED[1:]])
    assert "1 of 150 labels differ" in found.failed


def test_a_label_may_change_where_float32_was_not_sure_and_the_scores_hardly_move() -> None:
    close = [decision("a", 0.505, 0.01), *ASKED[1:]]
    other = Decision("b", 0.502, {"a": 0.498, "b": 0.502})
    found = criteria.interpreter(close, [other, *ASKED[1:]])
    assert not found.failed
    assert found.figures["labels that differ"] == 1


@pytest.mark.parametrize(("moved", "passes"), [(0.0199, True), (0.0201, False), (math.nan, False), (math.inf, False)])
def test_a_score_may_move_by_two_hundredths(moved: float, passes: bool) -> None:
    answers = [decision(first=0.8 + moved), *ASKED[1:]]
    assert (not criteria.interpreter(ASKED, answers).failed) is passes


def test_a_score_that_is_missing_fails() -> None:
    assert criteria.interpreter(ASKED, [Decision("a", 0.8, {"a": 0.8}), *ASKED[1:]]).failed


@pytest.mark.parametrize(
    ("divergence", "differing", "passes"),
    [(1.9, 14, True), (2.1, 0, False), (0.0, 16, False), (math.nan, 0, False), (math.inf, 0, False)],
)
def test_an_oracle_passes_by_mean_divergence_and_by_the_likeliest_tokens(
    divergence: float, differing: int, passes: bool
) -> None:
    answers = [Compared(divergence / 2, differing // 2)] * 2
    assert (not criteria.oracle(1000, 1000, answers).failed) is passes


def test_too_few_items_fail_whatever_they_say() -> None:
    assert "fewer than" in criteria.scribe(SAID[:3], SAID[:3]).failed
    assert "fewer than" in criteria.interpreter(ASKED[:100], ASKED[:100]).failed
    assert "fewer than" in criteria.oracle(1000, 400, []).failed
    for nothing in (criteria.scribe([], []), criteria.interpreter([], []), criteria.oracle(0, 0, [])):
        assert nothing.failed
