"""Transcription of long recordings: windows with bad text are sampled again, and progress is reported."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.scribe import guards, transcribe
from golem_chain.workers.stages.scribe.engine import Recording, Scribe
from golem_chain.workers.stages.scribe.whisper.decoding import Specials, decode_tokens
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
    monkeypatch.setattr(guards, "loops", lambda text, tokens, voiced_s: max(temperatures) < 0.4)
    hear(engine, 40)
    assert sorted({*temperatures}) == [0.0, 0.2, 0.4]


def test_where_all_fail_the_likeliest_is_kept(
    engine: Scribe, temperatures: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcribe, "LEAST_LOGPROB", 0.0)
    monkeypatch.setattr(guards, "loops", lambda text, tokens, voiced_s: False)
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
