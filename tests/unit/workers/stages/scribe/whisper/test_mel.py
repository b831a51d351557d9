"""Features are those of transformers' extractor, whatever the length of a piece and whatever is beside it."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from golem_chain.workers.stages.scribe.whisper.mel import MelFeatures

CPU = torch.device("cpu")


def sound(samples, seed=1):
    return (0.3 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def near(found, wanted):
    return float((found - wanted).abs().max()) <= 1e-5


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("samples", [1, 199, 200, 401, 16_000, 16_159, 479_599, 479_800, 479_999, 480_000])
def test_the_features_are_those_of_transformers(samples, mels):
    extractor = WhisperFeatureExtractor(feature_size=mels)
    piece = sound(samples)
    wanted = extractor([piece], sampling_rate=16_000, return_tensors="pt")["input_features"]
    found = MelFeatures(extractor).of([piece], CPU)
    assert found.shape == wanted.shape
    assert near(found, wanted)


@pytest.mark.parametrize(
    "piece",
    [
        np.zeros(16_000, np.float32),
        np.concatenate([np.zeros(8_000, np.float32), sound(8_000)]),
        1e-6 * sound(16_000),
        np.sin(np.arange(32_000) * 0.3).astype(np.float32),
    ],
    ids=["silence", "silence first", "very quiet", "a tone"],
)
def test_silence_and_tones_have_the_same_floor(piece):
    extractor = WhisperFeatureExtractor()
    wanted = extractor([piece], sampling_rate=16_000, return_tensors="pt")["input_features"]
    assert near(MelFeatures(extractor).of([piece], CPU), wanted)


def test_pieces_of_a_batch_do_not_depend_on_each_other():
    made = MelFeatures(WhisperFeatureExtractor())
    pieces = [sound(length, seed) for seed, length in enumerate((16_000, 480_000, 30_001))]
    together = made.of(pieces, CPU)
    for row, piece in zip(together, pieces, strict=True):
        assert torch.equal(row, made.of([piece], CPU)[0])


@pytest.mark.parametrize("step", [1, 2])
def test_a_view_of_a_recording_that_cannot_be_written_is_read(step):
    piece = sound(48_000)[::step]
    piece.flags.writeable = False
    extractor = WhisperFeatureExtractor()
    wanted = extractor([piece.copy()], sampling_rate=16_000, return_tensors="pt")["input_features"]
    assert near(MelFeatures(extractor).of([piece], CPU), wanted)
