"""Hotwords of one recording touch no other, and without any the Scribe does what it did."""

from pathlib import Path
from typing import Any

import pytest

from golem_chain.workers.stages.scribe import guards, transcribe
from golem_chain.workers.stages.scribe.engine import Recording, Scribe
from golem_chain.workers.stages.scribe.vocabulary import hotwords
from golem_chain.workers.stages.scribe.vocabulary.hotwords import Candidate, Support
from golem_chain.workers.stages.scribe.vocabulary.rescoring import Rescorer
from tests.support.sounds import hum
from tests.support.whisper_models import OFF, ready, scribe, whisper


@pytest.fixture(params=[False, True], ids=["English-only", "multilingual"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Scribe:
    return scribe(whisper(tmp_path, multilingual=request.param), guards="none", **OFF)


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first word sounds like the first hotword, and the audio agrees: random weights write no words."""

    def all_alike(words: Any, known: Any) -> list[Candidate]:
        return [Candidate(known[0], words[0].start, words[0].end, 1.0)]

    monkeypatch.setattr(hotwords, "candidates", all_alike)
    monkeypatch.setattr(Rescorer, "supports", lambda *given: [Support(0.0, -5.0)] * len(given[-1]))


def test_without_hotwords_nothing_is_computed_for_them(engine: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise AssertionError("computed")

    monkeypatch.setattr(hotwords, "places", refused)
    monkeypatch.setattr(transcribe, "cross_of", refused)  # the decoder has its own
    assert engine.run(ready(engine, Recording("a.wav", hum(2))))[0].text


@pytest.mark.usefixtures("alike")
@pytest.mark.parametrize("seconds", [2, 65], ids=["one window", "timestamps"])
def test_in_a_batch_each_recording_has_its_own_hotwords(engine: Scribe, seconds: float) -> None:
    names = [(), ("Kitchener",), (), ("Ecobee",)]
    items = ready(engine, *(Recording(f"{n}.wav", hum(seconds, n), hotwords=one) for n, one in enumerate(names)))
    together = engine.run(items)
    assert ["Kitchener" in one.text for one in together] == [False, True, False, False]
    assert ["Ecobee" in one.text for one in together] == [False, False, False, True]
    plain = engine.run(ready(engine, *(Recording(f"{n}.wav", hum(seconds, n)) for n in range(4))))
    assert [together[0], together[2]] == [plain[0], plain[2]], "what has no hotwords is what it was"
    for with_names, without in zip(together, plain, strict=True):
        times = [{(one.start_s, one.end_s, one.avg_logprob) for one in both.segments} for both in (with_names, without)]
        assert times[1], "timestamps and the probability of the hearing stay"
        assert times[0] >= times[1], "a segment more is one whose text was nothing to see"


@pytest.mark.usefixtures("alike")
def test_the_times_of_words_are_those_of_the_words_in_the_text(engine: Scribe) -> None:
    asked = Recording("a.wav", hum(2), hotwords=("Kitchener",), word_times=True)
    [found] = engine.run(ready(engine, asked))
    words = [word.word for segment in found.segments for word in segment.words or ()]
    assert "Kitchener" in "".join(words)
    assert guards.tidy("".join(words)).replace(" ", "") == found.text.replace(" ", "")


def test_control_tokens_in_a_hotword_are_not_given_to_the_model(engine: Scribe) -> None:
    [item] = ready(engine, Recording("a.wav", hum(2), hotwords=("<|endoftext|>", "Kitchener")))
    kept = [one for one in item.hotwords if one.text == "Kitchener"]
    assert kept
    assert all(token < engine.specials.end for one in item.hotwords for token in one.tokens)


def test_what_was_heard_with_other_hotwords_is_not_resumed(engine: Scribe) -> None:
    asks = [Recording("a.wav", b"x", hotwords=names) for names in ((), ("Ecobee",), ("Kitchener",))]
    assert len({engine._version(ask) for ask in asks}) == 3
