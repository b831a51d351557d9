"""An interrupted transcription goes on where it was, on any box, and ends with the same words."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.shared.records import Transcript, Vocabulary
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.scribe import heard, transcribe
from golem_chain.workers.stages.scribe.audio import decode
from golem_chain.workers.stages.scribe.engine import Recording, Scribe
from golem_chain.workers.stages.scribe.heard import Key, Memory
from golem_chain.workers.stages.scribe.whisper.decoding import Decoded
from golem_chain.workers.stages.scribe.whisper.timing import TokenTime
from tests.support.sounds import hum
from tests.support.whisper_models import OFF, scribe, whisper

SECONDS = 65  # three windows


class Interrupted(BaseException):
    """What the worker's watch raises, as far as an engine is concerned."""


class Shelf:
    """A store in memory."""

    def __init__(self, body: bytes | None = None) -> None:
        self.body, self.saves = body, 0

    def load(self) -> bytes | None:
        return self.body

    def save(self, text: str) -> None:
        self.body, self.saves = text.encode(), self.saves + 1


def interrupt() -> None:
    raise Interrupted


Make = Callable[[], Scribe]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    held = whisper(tmp_path / "whisper", multilingual=True)

    def one_window_at_once() -> Scribe:  # so that there are many places to be interrupted
        engine = scribe(held, **OFF)
        engine.at_once = 1
        return engine

    return one_window_at_once


def run(engine: Scribe, asked: Recording) -> Transcript:
    prepared = engine.prepare(asked)
    assert isinstance(prepared, Ready)
    answer: Transcript
    [answer] = engine.run([prepared.item])
    return answer


def interrupted_everywhere(make: Make, sound: bytes, **options: Any) -> tuple[Transcript, int]:
    """Return the transcript of a recording that was interrupted whenever it could be, each time on another box, and how
    often that was."""
    shelf, times = Shelf(), 0
    while True:
        engine = make()
        calls: list[int] = []

        def once(seen: list[int] = calls) -> None:
            if seen:
                raise Interrupted  # after a batch of windows; the first call is that of `prepare`
            seen.append(1)

        try:
            return run(engine, Recording("a.wav", sound, store=shelf, step=once, **options)), times
        except Interrupted:
            times += 1
            assert times < 100, "it does not get on"


@pytest.mark.parametrize(
    "options", [{}, {"word_times": True}, {"prompt": "Shabata"}, {"temperature": 0.7, "seed": 3}], ids=str
)
def test_a_recording_interrupted_after_each_window_has_the_same_transcript(make: Make, options: dict[str, Any]) -> None:
    sound = hum(SECONDS)
    whole = run(make(), Recording("a.wav", sound, **options))
    answer, times = interrupted_everywhere(make, sound, **options)
    assert times >= 3
    assert answer == whole


def test_windows_that_are_decoded_after_the_text_before_them_are_resumed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcribe, "LEAST_LOGPROB", -100.0)  # so that texts are given
    held = whisper(tmp_path / "whisper", multilingual=True)

    def make() -> Scribe:
        return scribe(held, scribe_previous="on", **OFF)

    answer, times = interrupted_everywhere(make, hum(SECONDS))
    assert times >= 3
    assert answer == run(make(), Recording("a.wav", hum(SECONDS)))


def test_texts_that_are_sampled_again_and_phrases_that_are_scored_are_resumed_too(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcribe, "LEAST_LOGPROB", 0.0)  # every text fails
    monkeypatch.setattr(transcribe, "TEMPERATURES", (0.5, 1.0))
    sound = hum(65)
    answer, times = interrupted_everywhere(make, sound)
    assert times >= 6
    assert answer == run(make(), Recording("a.wav", sound))
    asked: dict[str, Any] = {"vocabulary": Vocabulary(phrases=("yes", "no"))}
    answer, _ = interrupted_everywhere(make, sound, **asked)
    assert answer == run(make(), Recording("a.wav", sound, **asked))


def test_only_missing_windows_are_computed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    compute = transcribe.Transcriber._compute

    def counted(self: Any, model: Any, work: Any, *others: Any) -> None:
        batches.append(len(work))
        compute(self, model, work, *others)

    monkeypatch.setattr(transcribe.Transcriber, "_compute", counted)
    run(make(), Recording("a.wav", hum(SECONDS)))
    whole, batches[:] = sum(batches), []
    interrupted_everywhere(make, hum(SECONDS))
    assert sum(batches) == whole


def test_an_interrupted_recording_is_not_decoded_again_by_the_same_box(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, decoded, ours = make(), [], decode.decode

    def counted(*given: Any, **others: Any) -> Any:
        decoded.append(1)
        return ours(*given, **others)

    monkeypatch.setattr(decode, "decode", counted)
    asked = Recording("a.wav", hum(SECONDS), store=Shelf(), step=interrupt)
    with pytest.raises(Interrupted):
        engine.prepare(asked)
    prepared = engine.prepare(asked)  # the second time it is not interrupted before it has computed anything
    assert isinstance(prepared, Ready)
    with pytest.raises(Interrupted):
        engine.run([prepared.item])
    assert run(engine, Recording("a.wav", hum(SECONDS), store=Shelf())) == run(make(), Recording("a.wav", hum(SECONDS)))
    assert len(decoded) == 2  # here, and by the box that compares
    run(engine, Recording("a.wav", hum(SECONDS), store=Shelf()))
    assert len(decoded) == 3, "it was transcribed, so it is not kept any longer"


def test_a_short_recording_is_not_interrupted_and_nothing_of_it_is_stored(make: Make) -> None:
    engine, shelf = make(), Shelf()
    short = Recording("a.wav", hum(3), store=shelf, step=interrupt)
    run(engine, short)
    assert shelf.body is None
    long = make().prepare(Recording("b.wav", hum(65)))
    beside = engine.prepare(short)
    assert isinstance(long, Ready)
    assert isinstance(beside, Ready)
    assert len(engine.run([beside.item, long.item])) == 2


def test_progress_goes_on_from_where_it_was(make: Make) -> None:
    shelf, told = Shelf(), []
    for _ in range(20):
        told.append(0.0)
        calls: list[int] = []

        def once(seen: list[int] = calls) -> None:
            seen.append(1)
            if len(seen) > 1:
                raise Interrupted

        hooks: dict[str, Any] = {"progress": lambda heard_s, of_s: told.append(heard_s), "store": shelf, "step": once}
        try:
            run(make(), Recording("a.wav", hum(SECONDS), **hooks))
            break
        except Interrupted:
            pass
    last = told[len(told) - 1 - told[::-1].index(0.0) :]
    assert last[-1] == SECONDS
    assert last == sorted(last)


def test_a_box_with_another_model_or_another_request_begins_anew(make: Make, tmp_path: Path) -> None:
    shelf = Shelf()
    engine = make()
    prepared = engine.prepare(Recording("a.wav", hum(65), store=shelf))
    assert isinstance(prepared, Ready)
    object.__setattr__(prepared.item, "step", interrupt)
    with pytest.raises(Interrupted):
        engine.run([prepared.item])
    assert shelf.body

    def known(engine: Scribe, sound: bytes = hum(65), **options: Any) -> int:
        found = engine.prepare(Recording("a.wav", sound, store=Shelf(shelf.body), **options))
        assert isinstance(found, Ready)
        assert found.item.memory is not None
        return len(found.item.memory._kept)

    assert known(make()) == 1
    for options in ({"word_times": True}, {"prompt": "Shabata"}, {"temperature": 0.7}, {"seed": 3}):
        assert known(make(), **options) == 0
    assert known(make(), hum(66)) == 0
    assert known(scribe(whisper(tmp_path / "other", multilingual=True), **OFF)) == 0


# -- what anyone may have written

VERSION = f"{heard.FORMAT} v"
KEY = Key(0, 30_000, True, 0.0, 30_000)
SAID = Decoded((1, 2), -0.5, 0.1, "en", times=(TokenTime(0.0, 0.1, 0.5),), language_logprobs=(0.0,))


def memory(store: Shelf) -> Memory:
    made = Memory("v", store, 100, ["en"], 0)
    made.load()
    return made


def test_what_is_saved_is_found_again_to_the_last_bit() -> None:
    shelf = Shelf()
    said = Decoded((1, 2), -1 / 3, 1e-17, "en", True, -2 / 3, (TokenTime(0.1, 0.2, 1 / 7),), (-1e-9,))
    made = memory(shelf)
    made.add(KEY, said, [])
    made.save()
    assert memory(shelf).find(KEY) == (said, [])
    scored = Memory("v", shelf, 100, ["en"], 2)
    scored.add(KEY, said, [-math.inf, -1 / 3])
    scored.save()
    again = Memory("v", shelf, 100, ["en"], 2)
    again.load()
    assert again.find(KEY) == (said, [-math.inf, -1 / 3])


def test_what_cannot_be_stored_is_computed_to_its_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "add", lambda self, key, said, scores: False)
    calls: list[int] = []
    run(make(), Recording("a.wav", hum(65), store=Shelf(), step=lambda: calls.append(1)))
    assert len(calls) == 1  # by `prepare`


def row(**changed: Any) -> dict[str, Any]:
    return {
        "key": list(KEY),
        "tokens": [1, 2],
        "avg_logprob": -0.5,
        "no_speech_prob": 0.1,
        "language": "en",
        "raw_logprob": -1.0,
        "times": [],
        "scores": [],
        "language_logprobs": [0.0],
        **changed,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"tokens": [100]},
        {"tokens": [-1]},
        {"tokens": [10**30]},
        {"tokens": "abc"},
        {"tokens": [1] * 5000},
        {"language": "xx"},
        {"language": None},
        {"scores": [0.5, 0.5]},
        {"avg_logprob": 1e300},
        {"avg_logprob": None},
        {"times": [[0, 1]]},
        {"times": [[0, 1, 1e300]]},
        {"key": [0, 1]},
        {"language_logprobs": []},
        {"language_logprobs": [-1.0, None]},
    ],
    ids=str,
)
def test_damaged_windows_are_computed_again(changed: dict[str, Any]) -> None:
    sound = json.dumps({"version": VERSION, "windows": [row()]})
    assert memory(Shelf(sound.encode())).find(KEY) is not None
    damaged = json.dumps({"version": VERSION, "windows": [row(**changed)]})
    assert memory(Shelf(damaged.encode())).find(KEY) is None


@given(st.one_of(st.binary(), st.text().map(str.encode), st.just(b"[" * 100_000), st.just(b'{"version":1e999}')))
def test_damaged_memory_is_ignored(body: bytes) -> None:
    assert memory(Shelf(body)).find(KEY) is None


def test_memory_that_is_too_large_is_neither_saved_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    made = memory(shelf)
    made.add(KEY, SAID, [])
    monkeypatch.setattr(heard, "MOST_BYTES", 10)
    made.save()
    assert shelf.saves == 0
    assert memory(Shelf(b"x" * 11)).find(KEY) is None


def test_a_crash_costs_a_few_seconds_of_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    made = memory(shelf)
    made.add(KEY, SAID, [])
    assert shelf.saves == 0
    monkeypatch.setattr(heard, "SAVE_S", 0.0)
    made.add(KEY._replace(start_ms=1), SAID, [])
    assert shelf.saves == 1
    assert memory(shelf).find(KEY) is not None
