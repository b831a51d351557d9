"""LocalAgreement-2: what two transcripts in a row agree on stays."""

from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.listening.agreement import Agreement

texts = st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "E,", "f."]), max_size=8).map(" ".join), max_size=8)


def heard(*texts, cut=False):
    agreement = Agreement()
    for text in texts:
        agreement = agreement.hear(text)
    return agreement.shown(cut=cut)


def test_nothing_is_certain_after_one_transcript():
    assert heard("turn on the") == ("", "turn on the")


def test_what_two_transcripts_agree_on_is_certain():
    assert heard("turn on the", "turn on the kitchen light") == ("turn on the", "kitchen light")
    assert heard("turn on a", "turn on the kitchen") == ("turn on", "the kitchen")


def test_case_and_punctuation_are_no_disagreement():
    assert heard("Turn on.", "turn on, please") == ("turn on,", "please")


def test_the_last_word_of_a_recording_that_was_cut_is_not_shown_until_it_is_certain():
    assert heard("turn on the kit", cut=True) == ("", "turn on the")
    assert heard("turn on", "turn on the kit", cut=True) == ("turn on", "the")
    assert heard("turn", "turn", cut=True) == ("turn", "")
    assert heard("turn", cut=True) == ("", "turn"), "but the first word is better than none"


def test_certain_words_stay_if_a_later_transcript_hears_others():
    assert heard("turn on the", "turn on the light", "burn on the light please") == ("turn on the light", "please")


def test_words_are_not_doubled_if_a_later_transcript_begins_with_another_one():
    assert heard("turn on the", "turn on the light", "So turn on the light please") == ("turn on the light", "please")


def test_words_are_not_swallowed_if_a_later_transcript_joins_two():
    assert heard("ice cream for", "ice cream for", "icecream for me") == ("ice cream for", "me")


def test_silence_in_between_takes_nothing_back():
    assert heard("turn on", "turn on", "", "turn on the light") == ("turn on", "the light")


@given(texts)
def test_certain_words_only_grow_and_come_from_the_transcripts(texts):
    agreement = Agreement()
    for text in texts:
        after = agreement.hear(text)
        assert after.confirmed[: len(agreement.confirmed)] == agreement.confirmed
        assert set(after.confirmed[len(agreement.confirmed) :]) <= set(text.split())
        assert text.endswith(" ".join(after.rest))
        agreement = after


@given(st.lists(st.sampled_from(["x", "y", "z", "x,"]), min_size=1, max_size=8))
def test_the_same_transcript_twice_is_certain_as_a_whole(words):
    text = " ".join(words)
    assert heard(text, text) == (text, "")
    assert heard(text, text, text) == (text, "")
