"""The Scribe with a vocabulary: mixed batches, utterances of long recordings, errors, and real keywords."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from golem_chain.shared.errors import BadVocabulary, LanguageRefused
from golem_chain.shared.records import Transcript, Vocabulary
from golem_chain.workers.stages.scribe.audio.speech import Span
from golem_chain.workers.stages.scribe.audio.windows import Window, utterances
from golem_chain.workers.stages.scribe.engine import Recording, Scribe
from golem_chain.workers.stages.scribe.vocabulary import choice
from tests.support.paths import DATA
from tests.support.sounds import hum, wav
from tests.support.whisper_models import OFF, HeldWhisper, ready, scribe, whisper

KEYWORDS = DATA / "keywords"
ALWAYS = OFF | {"vocabulary_floor": 1e9, "vocabulary_margin": 1e9}  # some phrase always passes
WORDS = Vocabulary(phrases=("yes", "no", "stop it"))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], HeldWhisper]:
    folder = tmp_path_factory.mktemp("whisper")
    made = {kind: whisper(folder / str(kind), multilingual=kind) for kind in (False, True)}
    return made.__getitem__


def test_a_batch_of_several_vocabularies_and_none_answers_what_each_alone_would(held: Any) -> None:
    engine = scribe(held(True), **ALWAYS)
    other = Vocabulary(phrases=("да", "нет"), fillers=("yes",))
    asked = [WORDS, None, other, WORDS]
    items = ready(engine, *(Recording(f"{n}.wav", hum(1 + n, n), vocabulary=one) for n, one in enumerate(asked)))
    together = engine.run(items)
    alone = [engine.run([item])[0] for item in items]
    for one, two, vocabulary in zip(together, alone, asked, strict=True):
        assert (one.text, one.free_text) == (two.text, two.free_text)
        assert (one.choice is None) == (vocabulary is None)
        if one.choice and two.choice and vocabulary:
            assert one.choice.phrase == two.choice.phrase
            assert one.choice.posterior == pytest.approx(two.choice.posterior, abs=1e-3)
            assert one.choice.candidates[0].phrase == two.choice.candidates[0].phrase
            assert one.choice.phrase == "unknown" or one.text == one.choice.phrase in vocabulary.phrases
            assert all(segment.choice == one.choice for segment in one.segments)


def test_an_unknown_phrase_leaves_the_free_text(held: Any) -> None:
    engine = scribe(held(False), **OFF, vocabulary_floor=0)
    plain, chosen = engine.run(ready(engine, Recording("a.wav", hum(2)), Recording("a.wav", hum(2), vocabulary=WORDS)))
    assert chosen.choice is not None
    assert chosen.choice.phrase == "unknown"
    assert chosen.choice.candidates[0].phrase in WORDS.phrases
    assert chosen.text in (plain.text, "")  # a looping text is decoded again, but not if the choice is unknown anyway


def test_silence_has_no_choice(held: Any) -> None:
    engine = scribe(held(False))
    answer = engine.prepare(Recording("quiet.wav", wav(np.zeros(16_000)), vocabulary=WORDS))
    assert answer == Transcript(duration_s=1.0, guards=("level",))
    strict = scribe(held(False), vad_threshold=0, no_speech_threshold=0)
    (heard,) = strict.run(ready(strict, Recording("a.wav", hum(2), vocabulary=WORDS)))
    if heard.guards == ("no_speech",):
        assert (heard.text, heard.choice, heard.free_text) == ("", None, None)


def test_ten_thousand_phrases_are_made_ready_once_for_many_clips(held: Any) -> None:
    engine = scribe(held(False), **ALWAYS)
    many = Vocabulary(phrases=tuple(f"w{n}" for n in range(10_000)))
    items = ready(engine, *(Recording(f"{n}.wav", hum(1), vocabulary=many) for n in range(2)))
    assert items[0].lexicon is items[1].lexicon
    (answer,) = engine.run(items[:1])
    assert answer.choice is not None


def test_the_phrases_precede_the_audio_in_both_orders_unless_they_are_too_many(held: Any) -> None:
    engine = scribe(held(False), **OFF)
    asked = [("yes", "no"), ("yes",), ("yes", "<|endoftext|> no"), tuple(f"w{n}" for n in range(300))]
    some = [Recording("a.wav", hum(1), vocabulary=Vocabulary(phrases=one)) for one in asked]
    items = ready(engine, *some)
    two, one, control, many = ([engine.transcriber.words(p) for p in item.lexicon.prompts] for item in items)
    assert two == ["Yes.No.", "No.Yes."]  # this model's tokens of a blank have no text
    assert one == ["Yes."]
    assert len(control) == 2
    assert all(token < engine.specials.end for prompt in items[2].lexicon.prompts for token in prompt)
    assert many == []


def test_the_order_of_the_phrases_does_not_decide_in_doubt(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "LEAST_DOUBTFUL", -math.inf)  # a random model gives every phrase less
    engine = scribe(held(False), **ALWAYS)
    phrases = ("a", "b", "c")
    orders = [Vocabulary(phrases=phrases), Vocabulary(phrases=phrases[::-1])]
    found = [engine.run(ready(engine, Recording("a.wav", hum(2), vocabulary=one)))[0].choice for one in orders]
    first, second = ({one.phrase: one.posterior for one in answer.candidates} for answer in found if answer)
    assert first == pytest.approx(second, abs=1e-3)
    assert len(first) == 3


@pytest.mark.parametrize(
    ("phrase", "error", "says"),
    [
        ("go on and on " * 30, BadVocabulary, "to at most 60 tokens"),  # this model's context is 64
        ("включи свет", LanguageRefused, "not in Latin letters.*GOLEM_MODELS=multilingual"),
    ],
)
def test_a_phrase_that_the_checkpoint_cannot_say_is_refused(held: Any, phrase: str, error: Any, says: str) -> None:
    engine = scribe(held(False), **OFF)
    with pytest.raises(error, match=says) as caught:
        engine.prepare(Recording("a.wav", hum(1), vocabulary=Vocabulary(phrases=("yes", phrase))))
    assert caught.value.message.startswith("a.wav: ")
    if error is LanguageRefused:
        scribe(held(True)).prepare(Recording("a.wav", hum(1), vocabulary=Vocabulary(phrases=("yes", phrase))))


def test_a_long_recording_is_cut_at_long_pauses_into_utterances() -> None:
    chances = np.zeros(3000, np.float32)
    spans = [Span(1, 2), Span(2.5, 3), Span(10, 11), Span(40, 42)]
    found = utterances(spans, chances, 60)
    assert [(w.start_s, w.end_s) for w in found] == [(0.75, 3.25), (9.75, 11.25), (39.75, 42.25)]
    assert utterances(spans[:3], chances, 30) == [Window(0, 30)]


@pytest.mark.models
@pytest.mark.recordings
def test_keywords_are_chosen_and_silence_and_other_words_are_not(bundled_scribe: Scribe) -> None:
    if not KEYWORDS.is_dir():
        pytest.skip(f"no recordings: {KEYWORDS} is missing")
    rows = [json.loads(line) for line in (KEYWORDS / "manifest.jsonl").read_text().splitlines()]
    ten = tuple(dict.fromkeys(row["label"] for row in rows if not row["label"].startswith("_")))
    words = [row for name in ten for row in [row for row in rows if row["label"] == name][1:2]]
    others = [row for row in rows if row["label"] == "_unknown_"][:2]
    quiet = [row for row in rows if row["label"] == "_silence_"]
    asks = [
        Recording(row["path"], (KEYWORDS / row["path"]).read_bytes(), vocabulary=Vocabulary(phrases=ten))
        for row in (*words, *others, *quiet)
    ]
    prepared: list[Any] = [bundled_scribe.prepare(ask) for ask in asks]
    answers = iter(bundled_scribe.run([one.item for one in prepared if not isinstance(one, Transcript)]))
    heard = [one if isinstance(one, Transcript) else next(answers) for one in prepared]
    gold = [row["text"] for row in words] + ["unknown"] * len(others)
    said = [answer.choice.phrase if answer.choice else "" for answer in heard[: len(gold)]]
    assert sum(one == two for one, two in zip(said, gold, strict=True)) >= len(gold) - 1, said
    assert not any(answer.text for answer in heard[len(gold) :])


@pytest.mark.models
@pytest.mark.recordings
@pytest.mark.parametrize(
    ("path", "phrase"),
    [
        ("down/d962e5ac_nohash_2.wav", "down"),  # alone likelier "no"
        ("down/5e3dde6b_nohash_2.wav", "down"),  # alone "them"
        ("up/8769c34c_nohash_0.wav", "up"),  # begins with the recording: alone no voice
        ("_unknown_/dog_b97c9f77_nohash_0.wav", "unknown"),  # alone likely enough for "no"
    ],
)
def test_a_word_spoken_badly_is_known_among_the_phrases(bundled_scribe: Scribe, path: str, phrase: str) -> None:
    if not KEYWORDS.is_dir():
        pytest.skip(f"no recordings: {KEYWORDS} is missing")
    if bundled_scribe.weights.checkpoint.id != "whisper-tiny.en":
        pytest.skip(f"{bundled_scribe.weights.checkpoint.id} mishears other words than whisper-tiny.en")
    ten = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
    asked = Recording(path, (KEYWORDS / path).read_bytes(), vocabulary=Vocabulary(phrases=ten))
    (answer,) = bundled_scribe.run(ready(bundled_scribe, asked))
    assert answer.choice is not None
    assert answer.choice.phrase == phrase
