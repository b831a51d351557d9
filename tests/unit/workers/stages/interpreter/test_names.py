"""Labels that are only names: which texts stand for them, and what is added to their cosines."""

import math

import pytest

from golem_chain.shared.labels import MOST_LABELS, MOST_PHRASINGS, parse_labels
from golem_chain.shared.records import Label
from golem_chain.workers.stages.interpreter import synonyms
from golem_chain.workers.stages.interpreter.names import in_english, offset, wordings


def known(word: str) -> bool:
    return word != "hass"


def said(option: str, english: bool = True) -> list[tuple[str, ...]]:
    return [label.texts for label in wordings(parse_labels(option).labels, english, known)]


def test_a_name_stands_for_itself_and_its_alternatives() -> None:
    (texts,) = said("SearchEvent")
    assert texts[0] == "search event"
    assert {"find event", "look for event", "search show"} < set(texts)
    assert not any(text in texts for text in ("find show", "search")), "one word at a time"
    assert said("fnord") == [("fnord",)]


def test_two_words_with_a_sense_of_their_own_are_one() -> None:
    (texts,) = said("turn_off")
    assert texts == ("turn off", "switch off", "deactivate", "shut off")


def test_phrasings_and_names_of_other_languages_stay_as_they_are() -> None:
    labels = parse_labels("stop=play the music|be quiet,включи_свет,search_event").labels
    english = wordings(labels, True, known)
    assert [(label.texts, label.named) for label in english[:2]] == [
        (("play the music", "be quiet"), False),
        (("включи свет",), False),
    ]
    assert english[2].named
    foreign = wordings(labels, False, known)
    assert foreign[2].texts == ("search event",)
    assert not any(label.named for label in foreign)


def test_a_namespace_is_left_out_and_a_shared_word_is_not() -> None:
    assert [texts[0] for texts in said("HassTurnOn,HassTurnOff,HassNevermind")] == ["turn on", "turn off", "nevermind"]
    assert [texts[0] for texts in said("oven_on,oven_off,oven_heat")] == ["oven on", "oven off", "oven heat"]
    assert [texts[0] for texts in said("HassTurnOn,HassTurnOff")] == ["hass turn on", "hass turn off"]
    assert [texts[0] for texts in said("HassTurnOn,HassTurnOff,Hass")] == ["hass turn on", "hass turn off", "hass"]
    assert said("HassTurnOn,HassTurnOff,weather")[0][0] == "hass turn on"


def test_a_text_is_english_unless_its_language_or_its_letters_say_otherwise() -> None:
    assert in_english("turn on the lights", "en")
    assert in_english("add it to Flow Español", None)
    assert in_english("12:30", None)
    assert not in_english("turn on the lights", "de")
    assert not in_english("включи свет в комнате", None)
    assert not in_english("включи свет", "en")


def test_a_name_needs_a_higher_cosine_among_many_labels() -> None:
    assert offset(15) - offset(30) == pytest.approx(0.05 * math.log(2))
    assert offset(1) == offset(4) > offset(5)
    assert offset(60) == offset(1000) < offset(59)


def test_every_alternative_says_something_else() -> None:
    assert len(synonyms.SYNONYMS) > 400
    for word, others in synonyms.SYNONYMS.items():
        assert word == " ".join(word.lower().split())
        assert len(word.split()) <= 2
        assert 1 <= len(others) <= 5
        assert word not in others
        assert len(set(others)) == len(others)
        assert all(other.strip() == other and other for other in others)


def test_a_set_of_many_or_long_names_has_a_bounded_number_of_texts() -> None:
    name = "_".join(["get", "show", "state", "time"] * 12)
    (label,) = wordings([Label(name=name[:200])], True, known)
    assert len(label.texts) == MOST_PHRASINGS, "as many as a label may have phrasings"
    many = [Label(name=f"show_state_{number}") for number in range(MOST_LABELS)]
    assert sum(len(label.texts) for label in wordings(many, True, known)) <= 2000
