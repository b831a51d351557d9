"""Vocabularies: valid contents, spellings, and the choice of a phrase, without a model."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from golem_chain.shared.errors import BadVocabulary
from golem_chain.shared.records import Candidate, Choice, Label, LabelSet, Vocabulary
from golem_chain.shared.vocabulary import check_vocabulary, label_shares, parse_vocabulary, with_labels
from golem_chain.workers.stages.scribe.vocabulary.choice import (
    PER_TOKEN,
    UNPROMPTED_FLOOR,
    UNPROMPTED_MARGIN,
    Free,
    Lexicon,
    Limits,
    Tree,
    choose,
    doubtful,
    mean,
)
from golem_chain.workers.stages.scribe.vocabulary.spellings import in_digits, in_words, key, spellings

LIMITS = Limits(floor=6.5, margin=8.0)
PROMPTS = ((1, 2), (2, 1))
LABELS = LabelSet(
    labels=(
        Label(name="lights_on", phrasings=("turn on the lights", "lights on")),
        Label(name="music_stop"),
    )
)


@pytest.mark.parametrize(
    ("option", "phrases"),
    [
        ("yes,no", ("yes", "no")),
        (' yes , "hello, world" ,no', ("yes", "hello, world", "no")),
        ("Stop,stop, STOP ,go", ("Stop", "go")),  # duplicates are dropped
        ("turn  on\tthe light", ("turn on the light",)),
        ("e\u0301tage", ("\u00e9tage",)),
        ("🎉", ("🎉",)),
        ("x" * 400, ("x" * 400,)),
    ],
)
def test_phrases_are_read_trimmed_and_each_once(option: str, phrases: tuple[str, ...]) -> None:
    assert parse_vocabulary(option) == Vocabulary(phrases=phrases)


def test_a_file_has_one_phrase_a_line(tmp_path: Path) -> None:
    file = tmp_path / "phrases.txt"
    file.write_bytes("\ufeffyes, please\r\n\r\n  no\nYes, please\n".encode())
    assert parse_vocabulary(f"@{file}", "maybe,no") == Vocabulary(phrases=("yes, please", "no"), fillers=("maybe",))


@pytest.mark.parametrize(
    ("option", "fillers", "says"),
    [
        ("", None, "empty"),
        (" ", None, "empty"),
        ("yes,,no", None, "Phrase 2"),
        ("yes,...", None, "no letters or digits"),
        ("yes", "a,", "Filler 2"),
        ("a\x07b", None, "unprintable character"),
        ("a\udcffb", None, "unprintable character"),
        ("x" * 401, None, "401 characters"),
        (",".join(f"p{n}" for n in range(10_001)), None, "10,001 phrases"),
        ("yes,Unknown", None, "is reserved"),
        ("@missing.txt", None, "missing.txt"),
        ("@bad\0name", None, "does not exist"),
        (None, "maybe", "--vocabulary"),
    ],
)
def test_a_bad_vocabulary_ends_in_one_sentence(option: str | None, fillers: str | None, says: str) -> None:
    with pytest.raises(BadVocabulary, match=says) as caught:
        parse_vocabulary(option, fillers)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


def test_a_vocabulary_is_its_own_or_the_labels() -> None:
    asked = parse_vocabulary("from-labels", "maybe,lights on")
    assert asked is not None
    assert asked.phrases == ()
    expanded = with_labels(asked, LABELS)
    assert expanded.phrases == ("turn on the lights", "lights on", "music stop")
    assert expanded.fillers == ("maybe",)
    with pytest.raises(BadVocabulary, match="not both"):
        check_vocabulary(Vocabulary(phrases=("a",), from_labels=True))
    plain = Vocabulary(phrases=("a",))
    assert with_labels(plain, LABELS) is plain


def test_the_phrasings_of_a_label_speak_for_it_together() -> None:
    found = Choice(
        phrase="lights on",
        posterior=0.5,
        margin=1.0,
        free_margin=0.0,
        candidates=(
            Candidate(phrase="lights on", posterior=0.5),
            Candidate(phrase="music stop", posterior=0.2),
            Candidate(phrase="turn on the lights", posterior=0.25),
        ),
    )
    assert label_shares(found, LABELS) == {"lights_on": 0.75, "music_stop": 0.2}


@pytest.mark.parametrize(
    ("typed", "words", "digits"),
    [
        ("set 5 timers", "set five timers", "set 5 timers"),
        ("50%", "fifty percent", "50%"),
        ("twenty-five minutes", "twenty-five minutes", "25 minutes"),
        ("three thousand two hundred forty one", "three thousand two hundred forty one", "3241"),
        ("one two three", "one two three", "1 2 3"),
        ("at 7:30 or 3.5 for 007", "at 7:30 or 3.5 for 007", "at 7:30 or 3.5 for 007"),
        ("someone won a hundred", "someone won a hundred", "someone won a hundred"),
        ("1999", "one thousand nine hundred ninety-nine", "1999"),
    ],
)
def test_numbers_are_spelled_both_ways(typed: str, words: str, digits: str) -> None:
    assert (in_words(typed), in_digits(typed)) == (words, digits)


def test_a_number_in_words_is_that_number() -> None:
    numbers = [str(number) for number in range(10_000)]
    assert [in_digits(in_words(number)) for number in numbers] == numbers


def test_spellings_differ_in_case_mark_and_number_and_are_one_phrase() -> None:
    found = spellings("Turn on 2 lights.")
    assert {" Turn on 2 lights", " turn on two lights.", " Turn on two lights!"} <= set(found)
    assert len({key(text) for text in found}) == 1
    assert len(set(found)) == len(found)
    assert "停止" in spellings("停止")
    assert key("What's up?") == key("whats UP")
    assert key("🎉") == "🎉"


def lexicon(*phrases: str, fillers: tuple[str, ...] = ()) -> Lexicon:
    both = (*phrases, *fillers)
    tree = Tree.of((number, list(phrase.encode())) for number, phrase in enumerate(both))
    return Lexicon(Vocabulary(phrases=phrases, fillers=fillers), tree, (1,) * len(both), PROMPTS)


def test_the_tree_shares_beginnings_and_knows_its_ends() -> None:
    tree = Tree.of([(0, (1, 2)), (1, (1, 3)), (2, (1, 2)), (3, (1,)), (3, (1,))])
    assert len(tree.children) == 4
    assert tree.complete((1, 2)) == (0, 2)
    assert tree.complete((1,)) == (3,)
    assert tree.complete((2, 1)) == ()


OTHER = Free("something else", (99,), -3.0)


def test_the_likeliest_phrase_is_chosen_with_its_margins() -> None:
    found = choose(lexicon("yes", "no", "go"), [-1.0, -4.0, -math.inf], OTHER, LIMITS)
    assert (found.phrase, found.margin, found.free_margin) == ("yes", 3.0, 2.0)
    assert [candidate.phrase for candidate in found.candidates] == ["yes", "no"]
    assert 0.9 < found.posterior == found.candidates[0].posterior < 1


@pytest.mark.parametrize(
    ("scores", "free"),
    [
        ([-7.0, -9.0], OTHER),  # below the floor
        ([-6.0, -9.0], Free("something else", (99,), 2.5)),  # the free text is far likelier
    ],
)
def test_what_is_in_no_vocabulary_is_unknown(scores: list[float], free: Free) -> None:
    found = choose(lexicon("yes", "no"), scores, free, LIMITS)
    assert found.phrase == "unknown"
    assert found.posterior > 0.5
    assert found.candidates[0].phrase == "yes", "the likeliest phrase is told all the same"


def test_a_likelier_filler_means_unknown_and_a_less_likely_one_nothing() -> None:
    words = lexicon("yes", "no", fillers=("maybe",))
    assert choose(words, [-2.0, -5.0, -1.0], OTHER, LIMITS).phrase == "unknown"
    assert choose(words, [-2.0, -5.0, -3.0], OTHER, LIMITS).phrase == "yes"


def test_a_free_text_that_is_a_filler_is_a_rival_as_any_other_text() -> None:
    words = lexicon("yes", "no", fillers=("maybe",))
    free = Free("Maybe.", tuple(b"maybe"), -1.0)
    assert choose(words, [-2.0, -9.0, -9.0], free, Limits(floor=3.5, margin=0.5)).phrase == "unknown"
    assert choose(words, [-2.0, -9.0, -9.0], free, Limits(floor=3.5, margin=1.5)).phrase == "yes"


def test_a_free_text_that_is_a_phrase_is_one_more_spelling_of_it() -> None:
    words = lexicon("nevermind", "stop")
    free = Free(" Never mind!", (5, 6), -1.0)
    assert choose(words, [-12.0, -9.0], free, LIMITS).phrase == "nevermind"
    known = Free("stop", tuple(b"stop"), -1.0)  # its tokens are in the tree, so not counted twice
    assert choose(words, [-12.0, -1.0], known, LIMITS).free_margin == 0.0


def test_long_phrases_are_allowed_more() -> None:
    words = Lexicon(Vocabulary(phrases=("a b c",)), Tree.of([(0, (1, 2, 3))]), (3,), PROMPTS)
    assert choose(words, [-6.5 - 2 * PER_TOKEN + 0.01], OTHER, LIMITS).phrase == "a b c"
    assert choose(words, [-6.5 - 2 * PER_TOKEN - 0.01], OTHER, LIMITS).phrase == "unknown"


def test_margins_are_numbers_that_json_can_carry() -> None:
    found = choose(lexicon("yes"), [-math.inf], Free("", (), -math.inf), LIMITS)
    assert (found.phrase, found.margin, found.free_margin) == ("unknown", 0.0, 0.0)
    assert choose(lexicon("yes"), [-1.0], OTHER, LIMITS).margin == 10.0


def test_phrases_scored_without_a_prompt_are_allowed_more() -> None:
    listed = lexicon("yes", "no")
    too_many = replace(listed, prompts=())
    for score, free in ((-6.6, OTHER), (-6.0, Free("something else", (99,), 2.1))):
        assert choose(listed, [score, -12.0], free, LIMITS).phrase == "unknown"
        assert choose(too_many, [score, -12.0], free, LIMITS).phrase == "yes"
    lowest = -LIMITS.floor - UNPROMPTED_FLOOR
    assert choose(too_many, [lowest - 0.01, -12.0], OTHER, LIMITS).phrase == "unknown"
    likely = Free("something else", (99,), -6.0 + LIMITS.margin + UNPROMPTED_MARGIN + 0.01)
    assert choose(too_many, [-6.0, -12.0], likely, LIMITS).phrase == "unknown"


def test_only_a_phrase_that_may_or_may_not_have_been_said_is_in_doubt() -> None:
    assert not doubtful([-0.1, -9.0])
    assert doubtful([-2.0, -2.1])
    assert not doubtful([-12.0, -math.inf])
    assert mean([-1.0, -math.inf, -4.0], [-3.0, -4.0, -math.inf]) == [-2.0, -math.inf, -math.inf]
