"""A language is named as clients name it, and known as checkpoints know it."""

import pytest

from golem_chain.broker.doors.wyoming.languages import ENGLISH, WHISPER, answered_in, asked_for, heard_by
from golem_chain.shared.errors import BadRequest


@pytest.mark.parametrize(
    ("tag", "code"),
    [("en", "en"), ("en-GB", "en"), ("pt_BR", "pt"), ("zh-Hans-CN", "zh"), ("DE", "de"), ("haw", "haw"),
     ("nb", "no"), ("jv", "jw"), ("fil-PH", "tl")],
)  # fmt: skip
def test_a_tag_is_reduced_to_the_code_that_whisper_knows(tag, code):
    assert asked_for(tag) == code
    assert code in WHISPER


@pytest.mark.parametrize("tag", [None, "", "*"])
def test_no_language_and_any_language_are_detected(tag):
    assert asked_for(tag) is None


@pytest.mark.parametrize("tag", ["e", "klingon", "xx", "en-", "en/../de", "x" * 10_000, 7, ["en"], {}, True])
def test_anything_else_is_refused_in_one_short_sentence(tag):
    with pytest.raises(BadRequest) as caught:
        asked_for(tag)
    assert len(caught.value.message) < 200
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("checkpoint", "profile", "known"),
    [
        ("whisper-tiny.en", "multilingual", ENGLISH),
        ("openai/whisper-small", "bundled", WHISPER),
        (None, "bundled", ENGLISH),
        (None, "auto", ENGLISH),
        (None, "multilingual", WHISPER),
    ],
)
def test_the_languages_follow_from_the_checkpoint_or_else_from_the_profile(checkpoint, profile, known):
    assert heard_by(checkpoint, profile) == known


def test_replies_are_english_and_in_the_languages_of_the_wordings():
    assert answered_in(()) == ("en",)
    assert answered_in(("ru", "en", "ru")) == ("en", "ru")


def test_a_multilingual_checkpoint_knows_99_languages():
    assert len(WHISPER) == len(set(WHISPER)) == 99
