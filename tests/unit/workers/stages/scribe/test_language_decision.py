"""One language for a recording, decided over its windows, and another one only where a window is sure of it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from golem_chain.workers.stages.scribe.audio.windows import Window
from golem_chain.workers.stages.scribe.engine import Recording
from golem_chain.workers.stages.scribe.languages import Detected, keeps_its_own, language_of
from golem_chain.workers.stages.scribe.transcribe import Work
from golem_chain.workers.stages.scribe.whisper.decoding import Decoded
from tests.support.sounds import hum
from tests.support.whisper_models import OFF, ready, scribe, whisper

EN, DE, RU = range(3)


def of(voiced_s: float, *probs: float) -> Detected:
    return Detected([math.log(prob) for prob in probs], voiced_s)


@pytest.mark.parametrize(
    ("windows", "language"),
    [
        ([of(5, 0.2, 0.7, 0.1)], DE),
        ([of(20, 0.9, 0.05, 0.05), of(2, 0.1, 0.8, 0.1)], EN),
        ([of(5, 0.5, 0.4, 0.1), of(5, 0.5, 0.4, 0.1), of(5, 0.01, 0.98, 0.01)], DE),  # two are in doubt, one is sure
        ([of(5, 0.9, 0.1, 1e-30), of(20, 0.1, 0.9, 1e-30), of(3, 1e-30, 1e-30, 1.0)], DE),  # one does not outvote all
        ([of(0, 0.1, 0.1, 0.8), of(1, 0.6, 0.2, 0.2)], EN),  # nobody speaks in the first
        ([of(0, 0.1, 0.1, 0.8)], None),
        ([Detected((), 5.0)], None),  # an English-only checkpoint
        ([], None),
    ],
)
def test_the_language_is_that_of_most_voice(windows: list[Detected], language: int | None) -> None:
    assert language_of(windows) == language


@pytest.mark.parametrize(
    ("window", "own"),
    [
        (of(10, 0.01, 0.98, 0.01), True),
        (of(1.5, 0.01, 0.98, 0.01), False),  # too short
        (of(10, 0.3, 0.6, 0.1), False),  # not sure
        (of(10, 0.9, 0.05, 0.05), False),  # it is the recording's
    ],
)
def test_a_window_has_its_own_language_if_it_is_long_and_sure(window: Detected, own: bool) -> None:
    assert keeps_its_own(window, EN) is own


def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detected: Sequence[Sequence[float]], **asked: Any
) -> tuple[list[str | None], list[int]]:
    """The languages in which windows of 10 s are decoded in the end if they are detected with these probabilities (of
    de, en and ru), and the sizes of the batches."""
    engine = scribe(whisper(tmp_path, multilingual=True), **OFF)
    codes, batches = list(engine.specials.languages), []
    assert codes == ["de", "en", "ru"]

    def compute(model: Any, work: Sequence[Work], *options: Any) -> None:
        batches.append(len(work))
        for item in work:
            logprobs = tuple(math.log(prob) for prob in detected[round(item.window.start_s / 10)])
            language = item.language or item.sound.language or codes[logprobs.index(max(logprobs))]
            first = engine.specials.first_time
            item.said = Decoded(
                (first, 70, 71, first + 500), -0.1, 0.0, language, language_logprobs=logprobs
            )  # complete after 10 s

    monkeypatch.setattr(engine.transcriber, "_compute", compute)
    (sound,) = ready(engine, Recording("a.wav", hum(40), **asked))
    work = [Work(sound, Window(10.0 * n, 10.0 * (n + 1)), timestamps=True) for n in range(len(detected))]
    return [item.heard.language for item in engine.transcriber.hear(engine.model, work)], batches


def test_a_window_in_doubt_is_decoded_again_in_the_language_of_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sure, doubtful, other = (0.98, 0.01, 0.01), (0.3, 0.6, 0.1), (0.001, 0.001, 0.998)
    languages, batches = told(tmp_path, monkeypatch, [sure, doubtful, other])
    assert languages == ["de", "de", "ru"]
    assert batches == [3, 1], "the others are decoded once"


def test_the_language_that_was_asked_for_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    languages, batches = told(tmp_path, monkeypatch, [(0.98, 0.01, 0.01), (0.01, 0.98, 0.01)], language="ru")
    assert languages == ["ru", "ru"]
    assert batches == [2]


def test_the_decision_does_not_depend_on_the_recordings_of_the_same_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = scribe(whisper(tmp_path, multilingual=True), **OFF)
    one, other = Recording("a.wav", hum(65)), Recording("b.wav", hum(65, seed=4))
    together = engine.run(ready(engine, one, other))
    alone = [engine.run(ready(engine, asked))[0] for asked in (one, other)]
    assert [(each.text, each.language) for each in together] == [(each.text, each.language) for each in alone]
    assert [[(part.text, part.start_s, part.language) for part in each.segments] for each in together] == [
        [(part.text, part.start_s, part.language) for part in each.segments] for each in alone
    ], "only last bits of scores may differ"
