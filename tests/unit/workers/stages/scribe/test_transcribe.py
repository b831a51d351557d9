"""Transcription of long recordings: windows with bad text are sampled again, what is left of one is heard, and progress
is reported."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.scribe import guards, short_context, transcribe
from golem_chain.workers.stages.scribe.audio.windows import Window
from golem_chain.workers.stages.scribe.engine import Recording, Scribe
from golem_chain.workers.stages.scribe.transcribe import Work
from golem_chain.workers.stages.scribe.whisper.decoding import Decoded, Specials, decode_tokens
from golem_chain.workers.stages.scribe.whisper.encoder import encode
from tests.support.whisper_models import whisper

OFF = {"vad_threshold": 0, "no_speech_threshold": 1}


def hum(seconds: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(1).normal(0, 0.1, round(16_000 * seconds)), 16_000, format="WAV")
    return buffer.getvalue()


@pytest.fixture
def engine(tmp_path: Path) -> Scribe:
    made = Scribe(whisper(tmp_path, multilingual=False), Settings.read(_env_file=None, **OFF))
    made.load()
    return made


@pytest.fixture
def temperatures(engine: Scribe, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the temperatures at which windows are decoded, in order."""
    found: list[float] = []
    decode = decode_tokens

    def watched(*args: Any, **options: Any) -> Any:
        found.append(options["temperature"])
        return decode(*args, **options)

    monkeypatch.setattr(transcribe, "decode_tokens", watched)
    return found


def hear(engine: Scribe, seconds: float, **asked: Any) -> Any:
    prepared = engine.prepare(Recording("a.wav", hum(seconds), **asked))
    assert isinstance(prepared, Ready)
    return engine.run([prepared.item])[0]


def test_a_long_text_that_fails_is_sampled_warmer_until_it_does_not(
    engine: Scribe, temperatures: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcribe, "LEAST_LOGPROB", -100.0)
    monkeypatch.setattr(guards, "loops", lambda text, tokens, voiced_s, full: max(temperatures) < 0.4)
    hear(engine, 40)
    assert sorted({*temperatures}) == [0.0, 0.2, 0.4]


def test_where_all_fail_the_likeliest_is_kept(
    engine: Scribe, temperatures: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcribe, "LEAST_LOGPROB", 0.0)
    monkeypatch.setattr(guards, "loops", lambda text, tokens, voiced_s, full: False)
    answer = hear(engine, 40)
    assert {*temperatures} == {0.0, *transcribe.TEMPERATURES}
    assert answer == hear(engine, 40), "the same again: seeds are of the window, not of the process"


def test_a_short_recording_is_never_sampled(
    engine: Scribe, temperatures: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcribe, "LEAST_LOGPROB", 0.0)
    hear(engine, 2)
    assert {*temperatures} == {0.0}


def test_without_the_guard_against_loops_nothing_is_sampled(tmp_path: Path, temperatures: list[float]) -> None:
    plain = Scribe(whisper(tmp_path / "b", multilingual=False), Settings.read(_env_file=None, guards="none", **OFF))
    plain.load()
    hear(plain, 40)
    assert {*temperatures} == {0.0}


def test_sampling_depends_on_the_seed_alone(tmp_path: Path) -> None:
    model = whisper(tmp_path, multilingual=False).model
    specials = Specials.of(model.generation_config)
    with torch.inference_mode():
        features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(5)).expand(3, -1, -1)
        encoded = model.model.encoder(features).last_hidden_state

    def sampled(seeds: list[int]) -> list[tuple[int, ...]]:
        count = len(seeds)
        found = decode_tokens(
            model, encoded[:count], specials, languages=[None] * count, tasks=["transcribe"] * count, timestamps=True,
            max_tokens=40, temperature=1.0, seeds=seeds,
        )  # fmt: skip
        return [decoded.tokens for decoded in found]

    one, other, again = sampled([7, 8, 7])
    assert one == again == sampled([7])[0]
    assert one != other


def test_progress_is_told_of_a_long_recording_and_ends_at_its_end(engine: Scribe) -> None:
    told: list[tuple[float, float]] = []
    hear(engine, 65, progress=lambda heard_s, of_s: told.append((heard_s, of_s)))
    assert told
    assert told == sorted(told)
    assert told[-1] == (65.0, 65.0)
    told.clear()
    hear(engine, 2, progress=lambda heard_s, of_s: told.append((heard_s, of_s)))
    assert not told


# -- nothing is lost and nothing is doubled where a window ends or is cut

Says = Callable[["Work", "Script"], Decoded]
SLOT_S = 1 / 15  # of speech in the scripts below: one token each, so that 30 s have more than the length limit


class Script:
    """Stands for the model: what it says to each window is a function of the window."""

    def __init__(self, engine: Scribe, monkeypatch: pytest.MonkeyPatch, says: Says) -> None:
        self.first_time = engine.specials.first_time
        self.windows: list[Window] = []
        self.transcriber = engine.transcriber

        def compute(model: Any, work: Sequence[Work], *options: Any) -> None:
            for item in work:
                self.windows.append(item.window)
                item.said = says(item, self)

        monkeypatch.setattr(engine.transcriber, "_compute", compute)

    def at(self, seconds: float) -> int:
        """The timestamp token of a time within a window."""
        return self.first_time + round(seconds / 0.02)

    def slots(self, start_s: float, end_s: float) -> list[int]:
        """The tokens that are said between two times of the recording: their numbers."""
        return list(range(math.ceil(start_s / SLOT_S - 0.5), math.ceil(end_s / SLOT_S - 0.5)))

    def heard(self, engine: Scribe, monkeypatch: pytest.MonkeyPatch, window: Window, timestamps: bool) -> list[int]:
        """What is heard of a window in the end, without timestamps."""
        monkeypatch.setattr(self.transcriber, "words", lambda tokens: " ".join(f"w{one}" for one in tokens))
        prepared = engine.prepare(Recording("a.wav", hum(window.end_s)))
        assert isinstance(prepared, Ready)
        work = self.transcriber.hear(None, [Work(prepared.item, window, timestamps)])
        assert all(a.window.end_s == pytest.approx(b.window.start_s) for a, b in pairwise(work))
        return [token for item in work for token in item.heard.tokens if token < self.first_time]


LIMIT = 220


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("length_s", [16.0, 28.0])
def test_a_window_with_more_tokens_than_the_limit_is_heard_to_its_end(
    engine: Scribe, monkeypatch: pytest.MonkeyPatch, timestamps: bool, length_s: float
) -> None:
    def says(item: Work, script: Script) -> Decoded:
        said = script.slots(item.window.start_s, item.window.end_s)
        first = [script.at(0)] if item.timestamps else []
        return Decoded((*first, *said[:LIMIT]), -0.2, 0.0, None, len(said) > LIMIT)

    script = Script(engine, monkeypatch, says)
    heard = script.heard(engine, monkeypatch, Window(0.0, length_s), timestamps)
    assert heard == script.slots(0.0, length_s)


def test_text_without_an_end_is_heard_again_and_stands_once(engine: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(item: Work, script: Script) -> Decoded:
        start_s, end_s = item.window.start_s, item.window.end_s
        if start_s > 0:
            return Decoded(
                (script.at(0), *script.slots(start_s, end_s), script.at(end_s - start_s)), -0.2, 0.0, None, False
            )
        pair = (script.at(5), script.at(5))
        return Decoded((script.at(0), *script.slots(0, 5), *pair, *script.slots(5, 8)), -0.2, 0.0, None, False)

    script = Script(engine, monkeypatch, says)
    assert script.heard(engine, monkeypatch, Window(0.0, 14.0), timestamps=True) == script.slots(0, 14)
    assert script.windows == [Window(0.0, 14.0), Window(5.0, 14.0)]


@pytest.mark.parametrize("length_s", [25.0, 36.0])
def test_a_text_that_stops_at_once_in_voice_without_a_pause_skips_none_of_it(
    engine: Scribe, monkeypatch: pytest.MonkeyPatch, length_s: float
) -> None:
    def says(item: Work, script: Script) -> Decoded:
        start_s, until_s = item.window.start_s, item.window.heard_s
        if until_s > 20:  # half a second of it, and a pair of timestamps
            pair = (script.at(0.5), script.at(0.5))
            return Decoded((script.at(0), *script.slots(start_s, start_s + 0.5), *pair), -0.2, 0.0, None, False)
        return Decoded(
            (script.at(0), *script.slots(start_s, start_s + until_s), script.at(until_s)), -0.2, 0.0, None, False
        )

    script = Script(engine, monkeypatch, says)
    heard = script.heard(engine, monkeypatch, Window(0.0, length_s), timestamps=True)
    assert heard == script.slots(0, length_s)


def test_a_loop_that_reaches_the_limit_is_not_heard_in_halves(engine: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(item: Work, script: Script) -> Decoded:
        return Decoded((7,) * LIMIT, -0.2, 0.0, None, True)

    script = Script(engine, monkeypatch, says)
    script.heard(engine, monkeypatch, Window(0.0, 28.0), timestamps=False)
    assert script.windows == [Window(0.0, 28.0)]


def test_a_model_that_never_ends_comes_to_an_end(engine: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(item: Work, script: Script) -> Decoded:
        return Decoded(tuple(range(LIMIT)), -0.2, 0.0, None, True)

    script = Script(engine, monkeypatch, says)
    script.heard(engine, monkeypatch, Window(0.0, 30.0), timestamps=False)
    assert len(script.windows) < 40


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Records the batches that are encoded: windows, and seconds of each."""
    found: list[tuple[int, float]] = []

    def watched(model: Any, features: Any, product: Any) -> Any:
        found.append((features.shape[0], features.shape[2] / 100))
        return encode(model, features, product)

    monkeypatch.setattr(transcribe, "encode", watched)
    monkeypatch.setattr(short_context, "doubtful", lambda *_: False)
    monkeypatch.setattr(transcribe, "halves", lambda *_: None)  # a random model seldom ends
    return found


def test_the_fast_context_of_a_clip_does_not_depend_on_its_company(
    tmp_path: Path, contexts: list[tuple[int, float]]
) -> None:
    chosen = Settings.read(_env_file=None, scribe_context="fast", guards=(), **OFF)
    made = Scribe(whisper(tmp_path, multilingual=False), chosen)
    made.load()
    clips = [Recording(f"{seconds}.wav", hum(seconds)) for seconds in (1, 18, 2, 21)]
    items = [ready.item for clip in clips if isinstance(ready := made.prepare(clip), Ready)]
    alone = [made.run([item])[0].text for item in items]
    assert contexts == [(1, 20.0), (1, 27.5), (1, 20.0), (1, 30.0)]
    contexts.clear()
    assert [answer.text for answer in made.run(items)] == alone
    assert contexts == [(2, 20.0), (1, 27.5), (1, 30.0)]


@pytest.mark.parametrize(("device", "seconds"), [("cpu", 20.0), ("cuda", 30.0)])
def test_a_card_computes_the_whole_context_because_a_short_one_is_slower_there(
    tmp_path: Path, device: str, seconds: float, contexts: list[tuple[int, float]]
) -> None:
    held = whisper(tmp_path, multilingual=False)
    held.device = torch.device(device)
    made = Scribe(held, Settings.read(_env_file=None, scribe_context="fast", guards=(), **OFF))
    held.device = torch.device("cpu")
    made.load()
    hear(made, 1)
    assert contexts == [(1, seconds)]
