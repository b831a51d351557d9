"""A beam search with what else changes a decoding, and where its text gives way to the greedy one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from golem_chain.workers.stages.scribe import guards, short_context, transcribe
from golem_chain.workers.stages.scribe.audio.windows import Window
from golem_chain.workers.stages.scribe.engine import Recording
from golem_chain.workers.stages.scribe.transcribe import Work
from golem_chain.workers.stages.scribe.vocabulary import hotwords
from golem_chain.workers.stages.scribe.vocabulary.hotwords import Candidate, Support
from golem_chain.workers.stages.scribe.vocabulary.rescoring import Rescorer
from golem_chain.workers.stages.scribe.whisper.decoding import decode_tokens
from tests.support.sounds import hum
from tests.support.whisper_models import OFF, HeldWhisper, ready, scribe, whisper

#: What each recording asks for, and what the worker is set to.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "fast": ({}, {"scribe_context": "fast"}),
    "hotwords": ({"hotwords": ("Kitchener",)}, {}),
    "after a text": ({"prompt": "an Apple, and one more thing"}, {}),
}


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> HeldWhisper:
    return whisper(tmp_path_factory.mktemp("whisper"), multilingual=False)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of a few tokens, heard once; the first word of each sounds like the hotword, if there is one."""

    def alike(words: Any, known: Any) -> list[Candidate]:
        return [Candidate(known[0], words[0].start, words[0].end, 1.0)]

    monkeypatch.setattr(transcribe, "MOST_TOKENS", 16)
    monkeypatch.setattr(transcribe, "halves", lambda *_: None)  # a random model seldom ends
    monkeypatch.setattr(short_context, "doubtful", lambda *_: False)
    monkeypatch.setattr(hotwords, "candidates", alike)
    monkeypatch.setattr(Rescorer, "supports", lambda *given: [Support(0.0, -5.0)] * len(given[-1]))


@pytest.fixture(params=list(WAYS))
def hear(request: pytest.FixtureRequest, held: HeldWhisper, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Hears three recordings with some beams, in a batch or each alone; `doubted`: those whose text may be invented."""
    asked, settings = WAYS[request.param]

    def heard(beams: int, doubted: str = "", *, alone: bool = False) -> list[tuple[int, ...]]:
        order = iter("012")
        monkeypatch.setattr(guards, "may_be_invented", lambda *_: next(order) in doubted)
        engine = scribe(held, scribe_beam=beams, guards="none", **settings, **OFF)
        items = ready(engine, *(Recording(f"{n}.wav", hum(2, n), **asked) for n in range(3)))
        work = [Work(item, window, False) for item in items for window in item.windows]
        for some in [[one] for one in work] if alone else [work]:
            engine.transcriber.hear(engine.model, some)
        return [one.heard.tokens for one in work]

    return heard


def test_in_a_batch_each_recording_has_the_searched_text_that_it_has_alone(hear: Any) -> None:
    assert hear(5) == hear(5, alone=True)


def test_a_searched_text_that_may_be_invented_gives_way_to_the_greedy_one_and_no_other_does(hear: Any) -> None:
    searched, greedy = hear(5), hear(1)
    assert all(one != other for one, other in zip(searched, greedy, strict=True))
    assert hear(5, "012") == greedy
    assert hear(5, "1") == [searched[0], greedy[1], searched[2]]


def test_each_window_is_searched_after_the_text_of_the_one_before(
    held: HeldWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, asked = decode_tokens, list[tuple[int, tuple[int, ...]]]()

    def noted(*given: Any, **options: Any) -> Any:
        asked.append((options["beams"], *options["previous"]))
        return decode(*given, **options)

    monkeypatch.setattr(transcribe, "decode_tokens", noted)
    monkeypatch.setattr(transcribe, "rest", lambda *_: None)
    monkeypatch.setattr(transcribe.Transcriber, "_fails", lambda *_: False)  # a random model is never sure
    monkeypatch.setattr(guards, "may_be_invented", lambda *_: False)
    engine = scribe(held, scribe_beam=5, scribe_previous="on", guards="none", **OFF)
    windows = [Window(20.0 * n, 20.0 * n + 20) for n in range(2)]
    (item,) = (replace(one, windows=windows) for one in ready(engine, Recording("long.wav", hum(40))))
    said = [one.heard.tokens for one in engine.transcriber.hear(engine.model, [Work(item, w, True) for w in windows])]
    assert asked == [(5, ()), (5, said[0][-item.carried :])]
    assert said[0]


def test_hotwords_stand_in_a_searched_text(held: HeldWhisper) -> None:
    engine = scribe(held, scribe_beam=5, guards="none", **OFF)
    asks = [Recording(f"{n}.wav", hum(2, n), hotwords=names) for n, names in enumerate([("Kitchener",), ()])]
    assert ["Kitchener" in one.text for one in engine.run(ready(engine, *asks))] == [True, False]


@pytest.mark.parametrize(
    ("text", "no_speech_prob", "avg_logprob", "doubted"),
    [
        ("Turn on the lights.", 0.1, -0.3, False),
        ("Turn on the lights.", 0.5, -0.3, True),
        ("Turn on the lights.", 0.1, -1.6, True),
        ("Thank you so much for watching!", 0.1, -0.3, True),
        ("I'll see you next time.", 0.1, -0.3, True),
    ],
)
def test_a_text_may_be_invented_where_the_model_doubts_it_or_that_anyone_speaks_or_it_often_is(
    text: str, no_speech_prob: float, avg_logprob: float, doubted: bool
) -> None:
    assert guards.may_be_invented(text, no_speech_prob, avg_logprob) is doubted
