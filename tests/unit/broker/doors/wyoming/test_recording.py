"""A recording of any PCM format is a WAV file within the limits on audio."""

import io
import wave

import numpy as np
import pytest

from golem_chain.broker.doors.door import Caller, Door, Limits
from golem_chain.broker.doors.wyoming.recording import Format, Recording, format_of
from golem_chain.shared.errors import AudioAboveLimit, BadAudio
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.scribe.audio.containers import decode_blocks


@pytest.fixture
def settings():
    return Settings.read(_env_file=None)


@pytest.mark.parametrize("form", [Format(8000, 1, 1), Format(16000, 2, 1), Format(44100, 3, 2), Format(48000, 4, 6)])
def test_the_file_has_the_format_and_the_samples_though_its_length_was_unknown(form):
    samples = bytes(range(form.width * form.channels)) * 10
    with wave.open(io.BytesIO(form.header() + samples)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (form.rate, form.width, form.channels)
        assert file.readframes(1 << 20) == samples


@pytest.mark.parametrize("tail", [b"", b"\x01"], ids=["whole", "half a sample"])
@pytest.mark.parametrize(("width", "dtype"), [(1, np.uint8), (2, "<i2"), (4, "<i4")])
def test_a_worker_decodes_it_at_every_width(width, dtype, tail):
    ramp = np.linspace(-0.9, 0.9, 900).reshape(-1, 2)
    full = 127 if width == 1 else 2 ** (8 * width - 1) - 1
    samples = (ramp * full + (128 if width == 1 else 0)).astype(dtype).tobytes()
    (block,) = decode_blocks(Format(22050, width, 2).header() + samples + tail)
    assert block.rate == 22050
    assert np.allclose(block.samples, ramp, atol=0.02)


def test_the_format_is_read_from_an_event(settings):
    assert format_of({"rate": 22050, "width": 2, "channels": 1, "timestamp": None}, settings) == Format(22050, 2, 1)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"rate": 16000, "width": 2},
        {"rate": 0, "width": 2, "channels": 1},
        {"rate": 16000, "width": 5, "channels": 1},
        {"rate": 16000, "width": 2, "channels": -1},
        {"rate": "16000", "width": 2, "channels": 1},
        {"rate": 16000.5, "width": 2, "channels": 1},
        {"rate": True, "width": True, "channels": True},
        {"rate": [1], "width": {}, "channels": None},
    ],
)
def test_a_format_that_is_none_is_refused(told, settings):
    with pytest.raises(BadAudio, match="no valid format"):
        format_of(told, settings)


@pytest.mark.parametrize(
    ("told", "setting"),
    [
        ({"rate": 400_000, "width": 2, "channels": 1}, "GOLEM_AUDIO_MAX_RATE"),
        ({"rate": 16_000, "width": 2, "channels": 10**30}, "GOLEM_AUDIO_MAX_CHANNELS"),
    ],
)
def test_a_format_above_a_limit_names_the_setting(told, setting, settings):
    with pytest.raises(AudioAboveLimit, match=setting):
        format_of(told, settings)


def recording(upload_bytes=None, **given):
    caller = Caller("one", "secret", limits=Limits(upload_bytes=upload_bytes))
    return Recording(Door(Settings.read(_env_file=None, **given)), caller, Format(8000, 1, 1))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"audio_max_bytes": 1044}, "GOLEM_AUDIO_MAX_BYTES"),
        ({"vault_limit": 1044}, "GOLEM_VAULT_LIMIT"),
        ({"upload_bytes": 1044}, "the limit of your key"),
        ({"audio_max_s": 0.125}, "GOLEM_AUDIO_MAX_S"),
    ],
)
def test_a_chunk_that_would_exceed_a_limit_is_refused_before_it_is_read(given, why):
    one = recording(**given)
    one.check_room(1000)
    with pytest.raises(AudioAboveLimit, match=why):
        one.check_room(1001)
