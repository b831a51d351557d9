"""Languages by code, tag and name."""

import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from golem_chain.shared.languages import NAMES, code_of, name_of


def test_the_languages_are_those_of_whisper():
    assert dict(NAMES) == LANGUAGES


def test_every_code_and_name_that_whisper_accepts_is_understood():
    assert {name: code_of(name) for name in TO_LANGUAGE_CODE} == TO_LANGUAGE_CODE
    assert {code: code_of(code) for code in LANGUAGES} == {code: code for code in LANGUAGES}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("EN", "en"),
        ("English", "en"),
        ("pt-BR", "pt"),
        ("zh_Hans_CN", "zh"),
        ("nb-NO", "no"),
        ("jv", "jw"),
        (" Haitian  Creole ", "ht"),
        ("xx", None),
        ("klingon", None),
        ("en-", None),
        ("", None),
        ("auto", None),
    ],
)
def test_a_language_is_understood_as_people_write_it(given, code):
    assert code_of(given) == code


def test_a_name_is_that_of_openais_answers():
    assert (name_of("en"), name_of("xx")) == ("english", "xx")
