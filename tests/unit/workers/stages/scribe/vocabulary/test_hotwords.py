"""Hotwords replace words that sound like them, and nothing else: the choice of places, without a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.workers.stages.scribe.vocabulary import hotwords
from golem_chain.workers.stages.scribe.vocabulary.hotwords import (
    Hotword,
    Support,
    accepted,
    candidates,
    places,
    replaced,
)
from golem_chain.workers.stages.scribe.vocabulary.sound import likeness, sound

END = 1000  # of the tokens below, each of which is a piece of text; those above are timestamps


class Pieces:
    """A tokenizer whose tokens are the pieces of the texts that it has seen."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def tokens(self, *pieces: str | int) -> list[int]:
        found = []
        for piece in pieces:
            if isinstance(piece, str) and piece not in self._pieces:
                self._pieces.append(piece)
            found.append(self._pieces.index(piece) if isinstance(piece, str) else END + piece)
        return found

    def decode(self, tokens):
        return "".join(self._pieces[token] for token in tokens if token < END)

    def hotword(self, text: str) -> Hotword:
        return Hotword.of(text, self.tokens(*(f" {word}" for word in text.split())))


@pytest.fixture
def pieces() -> Pieces:
    return Pieces()


def found(pieces: Pieces, tokens, *names):
    known = [pieces.hotword(name) for name in names]
    return candidates(places(tokens, END, pieces.decode), known)


def changed(pieces: Pieces, tokens, *names, gain=0.0, heard=-5.0):
    some = found(pieces, tokens, *names)
    return pieces.decode(replaced(tokens, accepted(some, [Support(gain, heard)] * len(some))))


def test_a_name_heard_as_other_words_takes_their_place_and_punctuation_stays(pieces):
    tokens = pieces.tokens(" What", " did", " he", " code", " be", " say", "?")
    said = [pieces.decode(tokens[one.start : one.end]) for one in found(pieces, tokens, "Ecobee")]
    assert " he code be" in said
    tokens = pieces.tokens(" the", " inc", "ubi", "?")
    assert changed(pieces, tokens, "Ecobee") == " the Ecobee?"
    tokens = pieces.tokens(" catch", "ner", "'s", " phone", ".")
    assert changed(pieces, tokens, "Kitchener") == " Kitchener's phone."


def test_words_that_sound_like_no_hotword_cost_nothing(pieces):
    tokens = pieces.tokens(" Turn", " off", " all", " the", " lights", ".")
    assert found(pieces, tokens, "Kitchener", "Okonkwo") == []
    assert found(pieces, [], "Kitchener") == []


def test_a_name_that_is_spelled_as_asked_stays_whatever_another_one_sounds_like(pieces):
    tokens = pieces.tokens(" Ask", " Kitchener", ".")
    assert changed(pieces, tokens, "Kitchener", "Kitchner") == " Ask Kitchener."


def test_the_case_of_a_hotword_is_its_own(pieces):
    assert changed(pieces, pieces.tokens(" ask", " kitchener"), "Kitchener") == " ask Kitchener"


def test_a_change_that_the_audio_contradicts_is_not_made(pieces):
    tokens = pieces.tokens(" the", " kitchen", " or")
    assert changed(pieces, tokens, "Kitchener", gain=-hotwords.MARGIN - 3) == " the kitchen or"
    assert changed(pieces, tokens, "Kitchener", gain=-hotwords.MARGIN + 3) != " the kitchen or"


def test_words_that_were_heard_surely_need_more_support_to_change(pieces):
    tokens = pieces.tokens(" for", " all")
    assert changed(pieces, tokens, "Al", gain=-8.0, heard=-0.1) == " for all"
    assert changed(pieces, tokens, "Al", gain=-8.0, heard=-3.0) == " for Al"
    assert changed(pieces, tokens, "Al", gain=-3.0, heard=-0.1) == " for Al"


def test_of_two_changes_that_overlap_the_one_further_within_the_limit_is_made(pieces):
    tokens = pieces.tokens(" no", " key")
    known = [pieces.hotword("Nuki"), pieces.hotword("Nokia")]
    some = candidates(places(tokens, END, pieces.decode), known)
    gains = [-1.0 if one.hotword.text == "Nokia" and one.end - one.start == 2 else -5.0 for one in some]
    taken = accepted(some, [Support(gain, -5.0) for gain in gains])
    assert pieces.decode(replaced(tokens, taken)) == " Nokia"


def test_words_on_two_sides_of_a_timestamp_are_not_one_name(pieces):
    apart = pieces.tokens(0, " no", 10, 10, " key", 20)
    assert all(one.end - one.start == 1 for one in found(pieces, apart, "Nuki"))
    together = pieces.tokens(0, " no", " key", 20)
    assert any(one.end - one.start == 2 for one in found(pieces, together, "Nuki"))


def test_timestamps_stay_where_they_are(pieces):
    tokens = pieces.tokens(0, " no", " key", 20, 20, " please", 30)
    after = replaced(tokens, accepted(some := found(pieces, tokens, "Nuki"), [Support(0.0, -5.0)] * len(some)))
    assert [token for token in after if token >= END] == [token for token in tokens if token >= END]


def test_a_long_text_and_many_hotwords_give_a_bounded_number_of_candidates(pieces):
    tokens = pieces.tokens(*[" kitchen", " or"] * 100)
    assert len(found(pieces, tokens, *(f"Kitchen{end}" for end in "abcdefghij"))) == hotwords.MOST_CANDIDATES


@given(st.text(alphabet="abcdefghiklmnoprstuyzаеиктр", max_size=9), st.text(alphabet="aeiouktrsn", max_size=9))
def test_leaving_out_what_is_too_different_changes_no_answer_above_the_limit(a, b):
    exact, pruned = likeness(sound(a), sound(b)), likeness(sound(a), sound(b), 0.45)
    assert pruned == pytest.approx(exact) if exact >= 0.45 + 1e-9 else pruned <= 0.45 + 1e-9
    assert exact == pytest.approx(likeness(sound(b), sound(a)))
    assert likeness(sound(a), sound(a)) == (1.0 if sound(a) else 0.0)


@pytest.mark.parametrize(
    ("name", "heard", "other"),
    [
        ("Kitchener", "kitchen or", "call me"),
        ("Wyndham", "Windham", "when"),
        ("Zürich", "Zurich", "church"),
        ("Ecobee", "echo be", "become"),
        ("Китченер", "китченор", "телефон"),
    ],
)
def test_a_name_is_more_like_what_it_is_heard_as_than_like_other_words(name, heard, other):
    assert likeness(sound(name), sound(heard)) > max(0.6, likeness(sound(name), sound(other)))
