"""Loudness follows the voice: a click or a knock does not hide that a recording is quiet."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile

from golem_chain.workers.stages.scribe.audio import loudness
from golem_chain.workers.stages.scribe.audio.loudness import Levels
from golem_chain.workers.stages.scribe.audio.speech import Span
from golem_chain.workers.stages.scribe.engine import Recording
from tests.support.paths import DATA, SAMPLES
from tests.support.recordings import manifest
from tests.support.sounds import file
from tests.support.whisper_models import ready, scribe, whisper

NAMES = ("weather", "timer", "spell", "lights-on")


def spoken(name: str, peak: float) -> np.ndarray:
    """A sample with half a second of silence in front of it."""
    sound, _ = soundfile.read(SAMPLES / f"{name}.flac", dtype="float32")
    return np.concatenate([np.zeros(8000, np.float32), sound * np.float32(peak / np.abs(sound).max())])


def click(sound: np.ndarray, *places_s: float, length_s: float = 0.001) -> np.ndarray:
    made, length = sound.copy(), round(16_000 * length_s)
    for place_s in places_s:
        made[round(16_000 * place_s) :][:length] = 0.6 * np.hanning(length)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_the_loudness_of_a_voice_is_its_loudest_sample(name: str) -> None:
    assert Levels.of(spoken(name, 0.4)).loudness == pytest.approx(0.4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("places_s", [(0.2,), (1.0,), (0.1, 0.6, 0.9, 1.1, 1.3)])
def test_clicks_do_not_make_a_quiet_voice_loud(name: str, places_s: tuple[float, ...]) -> None:
    assert Levels.of(click(spoken(name, 0.005), *places_s)).loudness == pytest.approx(0.005, rel=0.6)


def test_a_knock_of_two_frames_does_not_make_a_quiet_voice_loud() -> None:
    knocked = click(spoken("weather", 0.005), 0.256, length_s=0.064)
    assert Levels.of(knocked).loudness == pytest.approx(0.005, rel=0.6)


def test_a_short_word_in_an_hour_of_silence_is_as_loud_as_it_is() -> None:
    word = np.zeros(3600 * 16_000, np.float32)
    word[16_000 * 1800 :][:3200] = 0.3 * np.sin(np.arange(3200) / 20)
    assert Levels.of(word).loudness == pytest.approx(0.3, rel=0.01)


def test_blocks_measure_what_the_whole_does(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.random.default_rng(4).normal(0, 0.1, 20_000).astype(np.float32)
    whole = Levels.of(sound)
    monkeypatch.setattr(loudness, "_BLOCK", 8 * 512)
    parts = Levels.of(sound)
    np.testing.assert_array_equal(parts.peaks, whole.peaks)
    np.testing.assert_array_equal(parts.halves, whole.halves)
    assert whole.peak == np.abs(sound).max()


@pytest.mark.parametrize("sound", [np.zeros(0, np.float32), np.zeros(40, np.float32), np.zeros(9000, np.float32)])
def test_silence_has_no_loudness(sound: np.ndarray) -> None:
    levels = Levels.of(sound)
    assert (levels.peak, levels.loudness) == (0.0, 0.0)
    assert levels.within([Span(0.0, 1.0)]).loudness == 0.0


def test_what_is_far_from_the_voice_does_not_count() -> None:
    sound = np.concatenate([np.full(16_000, 0.9), np.full(16_000, 0.01), np.full(16_000, 0.9)]).astype(np.float32)
    assert Levels.of(sound).within([Span(1.3, 1.7)]).loudness == pytest.approx(0.01)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    made = whisper(tmp_path_factory.mktemp("whisper"), multilingual=False)
    return lambda *recordings: ready(scribe(made), *recordings)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_hears_a_quiet_voice_as_loud_beside_a_click_as_without(held: Any, name: str) -> None:
    quiet = spoken(name, 0.005)
    sounds = [quiet, click(quiet, 0.2), click(quiet, 1.0)]
    plain, *clicked = held(*(Recording("a.wav", file(sound, 16_000, subtype="FLOAT")) for sound in sounds))
    assert plain.gain == pytest.approx(100)
    assert all(one.gain == pytest.approx(100, rel=0.5) for one in clicked)
    assert all(one.spans for one in clicked)


@pytest.mark.recordings
@pytest.mark.skipif(not DATA.is_dir(), reason="the recordings in ../shared/data are missing")
@pytest.mark.parametrize("folder", ["sentences", "commands", "multilingual", "keywords"])
def test_no_recorded_voice_is_taken_for_a_click(folder: str) -> None:
    paths = [DATA / folder / row["path"] for row in manifest(folder) if row.get("label") != "_silence_"]
    assert paths
    for path in paths:
        sound, _ = soundfile.read(path, dtype="float32", always_2d=True)
        levels = Levels.of(sound.mean(axis=1))
        assert levels.loudness == levels.peak, path
