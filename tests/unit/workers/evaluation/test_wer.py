"""The word error rate: text normalisation and edit distance."""

import pytest

from golem_chain.workers.evaluation.wer import edits, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World!", "hello world"),
        ("twenty twenty-four", "2024"),
        ("one two three", "123"),
        ("one two three", "1 2 3"),
        ("two hundred and five", "205"),
        ("three thousand two hundred", "3,200"),
        ("five hundred thousand", "500,000"),
        ("nineteen eighty-four", "1984"),
        ("five percent", "5%"),
        ("$20", "twenty dollars"),
        ("Mr. and Mrs. Smith", "mister and missus smith"),
        ("don’t", "don't"),
        ("ﬁne", "fine"),
    ],
)
def test_two_ways_to_write_the_same_are_the_same_words(one: str, other: str) -> None:
    assert words(one) == words(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("off", "of"), ("fifteen", "fifty"), ("two hundred", "two"), ("five and six", "five six"), ("hundred", "100")],
)
def test_other_words_stay_others(one: str, other: str) -> None:
    assert words(one) != words(other)


def test_other_languages_lose_case_and_marks_but_keep_their_letters() -> None:
    assert words("Нейронные сети — это хорошо.", "ru") == ["нейронные", "сети", "это", "хорошо"]
    assert words("Où est l'été ?", "fr") == ["où", "est", "l'été"]
    assert words("one two", "de") == ["one", "two"]


def test_chinese_is_counted_by_the_letter() -> None:
    assert words("你好，世界。", "zh") == ["你", "好", "世", "界"]


def test_edits_are_the_fewest_that_turn_one_into_the_other() -> None:
    assert edits([], ["a"]) == 1
    assert edits(["a", "b", "c"], []) == 3
    assert edits(["a", "b", "c"], ["a", "x", "c"]) == 1
    assert edits(["turn", "the", "light", "on"], ["turn", "light", "on", "please"]) == 2
    assert edits(["a"] * 3, ["a"] * 3) == 0
