"""Decoding: bytes of any container become 16 kHz mono audio or a one-sentence error."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from golem_chain.shared.errors import AudioAboveLimit, BadAudio
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.scribe.audio.containers import Block, decode_blocks, stated_s
from golem_chain.workers.stages.scribe.audio.decode import cancels, decode, release
from tests.support.paths import DATA
from tests.support.sounds import TONE_HZ, av_file, file, tone

LIMITS = Settings.read(_env_file=None)


def outcome(data: bytes, name: str, limits: Settings = LIMITS) -> np.ndarray | BadAudio:
    """Return the decoded audio, or the error message."""
    try:
        return decode(data, name, limits)
    except BadAudio as exc:
        return exc


def pitch(sound: np.ndarray) -> float:
    """Return the strongest frequency, Hz."""
    return float(np.abs(np.fft.rfft(sound)).argmax() * 16_000 / len(sound))


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("WAV", "ULAW"),
        ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("AIFF", "PCM_16"), ("W64", "PCM_16"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_every_format_of_libsndfile_is_read(form: str, subtype: str | None, rate: int) -> None:
    sound = decode(file(tone(rate), rate, form, subtype), "tone", LIMITS)
    assert sound.dtype == np.float32
    assert sound.ndim == 1
    assert abs(len(sound) - 16_000) < 1_200  # encoders add padding
    assert pitch(sound) == pytest.approx(TONE_HZ, abs=2)
    assert np.abs(sound[2000:-2000]).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "aac"), ("mov", "aac"), ("adts", "aac")])
def test_what_libsndfile_cannot_read_ffmpeg_does(container: str, codec: str) -> None:
    sound = decode(av_file(tone(44_100), 44_100, container, codec), "tone.m4a", LIMITS)
    assert abs(len(sound) - 16_000) < 1_200
    assert pitch(sound) == pytest.approx(TONE_HZ, abs=2)


def test_eight_channels_by_ffmpeg_are_mixed() -> None:
    sound = decode(av_file(tone(48_000, channels=8), 48_000, "mp4", "aac", "7.1"), "surround.m4a", LIMITS)
    assert pitch(sound) == pytest.approx(TONE_HZ, abs=2)


@pytest.mark.parametrize("rate", [11_025, 22_050, 44_100, 96_000])
def test_resampling_in_blocks_is_librosas_soxr_hq(rate: int) -> None:
    import librosa

    noise = np.random.default_rng(1).normal(0, 0.1, rate * 2).astype(np.float32)
    mine = decode(file(noise, rate, subtype="FLOAT"), "noise", LIMITS)
    theirs = librosa.resample(noise, orig_sr=rate, target_sr=16_000, res_type="soxr_hq")
    assert abs(len(mine) - len(theirs)) <= 1
    assert np.abs(mine[: len(theirs)] - theirs[: len(mine)]).max() < 1e-3


def test_speech_in_one_of_eight_channels_is_in_the_mix() -> None:
    samples = np.zeros((16_000, 8), np.float32)
    samples[:, 3] = tone(16_000)[:, 0]
    sound = decode(file(samples, 16_000), "eight.wav", LIMITS)
    assert np.abs(sound).max() == pytest.approx(0.5 / 8, rel=0.01)


def test_channels_in_opposite_phase_do_not_cancel_each_other() -> None:
    samples = tone(16_000, channels=2)
    samples[:, 1] *= -1
    assert np.abs(decode(file(samples, 16_000), "phase.wav", LIMITS)).max() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    ("mix", "channels", "answer"),
    [
        (1.0, [1.0], None),
        (0.25, [1.0, 0.0], None),
        (1 / 64, [1.0] + [0.0] * 7, None),
        (0.001, [1.0, 1.1], 1),
        (0.0, [0.0, 0.0], None),
    ],
)
def test_the_mix_is_given_up_only_where_it_cancels(mix: float, channels: list[float], answer: int | None) -> None:
    assert cancels(mix, np.array(channels)) == answer


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_become_silence(odd: float) -> None:
    samples = tone(16_000)[:, 0]
    samples[::97] = odd
    sound = decode(file(samples, 16_000, subtype="FLOAT"), "odd.wav", LIMITS)
    assert np.isfinite(sound).all()
    assert (sound[::97] == 0).all()
    assert np.abs(sound).max() == pytest.approx(0.5, rel=0.01)


def test_float_files_beyond_full_scale_are_scaled_and_not_clipped() -> None:
    sound = decode(file(tone(16_000) * 60_000, 16_000, subtype="FLOAT"), "loud.wav", LIMITS)
    assert np.abs(sound).max() == pytest.approx(1.0)
    assert pitch(sound) == pytest.approx(TONE_HZ, abs=2)


def test_a_wav_file_that_states_to_be_empty_is_empty_sound() -> None:
    assert len(decode(file(np.zeros((0, 1), np.float32), 16_000), "none.wav", LIMITS)) == 0


@pytest.mark.parametrize(
    "data",
    [
        *(file(tone(16_000), 16_000)[:length] for length in (43, 44, 45)),
        *(file(tone(16_000), 16_000, form)[:length] for form, length in (("AIFF", 54), ("AU", 24), ("W64", 104))),
        file(np.zeros((0, 1), np.float32), 16_000, "OGG"),
        av_file(tone(48_000), 48_000, "webm", "libopus")[:700],
    ],
)
def test_a_header_without_its_samples_is_an_error(data: bytes) -> None:
    with pytest.raises(BadAudio, match=r"^clip has a header but no samples: record or copy it again\.$"):
        decode(data, "clip", LIMITS)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG"])
def test_libsndfile_never_calls_back_into_python_where_an_interruption_would_be_lost(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*_: object) -> None:
        raise AssertionError("virtual IO")

    data = file(tone(16_000, 3), 16_000, form)
    monkeypatch.setattr(soundfile.SoundFile, "_init_virtual_io", called)
    assert len(decode(data, "clip", LIMITS)) == 48_000
    assert stated_s(data) == 3


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "0 bytes"),
        (b"this is not audio\n" * 50, "not audio"),
        (b"<!doctype html><html></html>", "not audio"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "converted|convert"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "not audio"),  # a playlist must not open a file
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not audio"),
    ],
)
def test_what_is_no_audio_is_refused_in_one_sentence(data: bytes, why: str) -> None:
    with pytest.raises(BadAudio, match=why) as caught:
        decode(data, "clip.wav", LIMITS)
    assert caught.value.message.startswith("clip.wav ")
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("data", "limit", "setting"),
    [
        (file(tone(16_000), 16_000), {"audio_max_bytes": 1000}, "GOLEM_AUDIO_MAX_BYTES"),
        (file(tone(16_000, 3), 16_000), {"audio_max_s": 2.5}, "GOLEM_AUDIO_MAX_S"),
        (file(tone(16_000, channels=5), 16_000), {"audio_max_channels": 4}, "GOLEM_AUDIO_MAX_CHANNELS"),
        (file(tone(96_000), 96_000), {"audio_max_rate": 48_000}, "GOLEM_AUDIO_MAX_RATE"),
        (av_file(tone(44_100, 3), 44_100, "mp4", "aac"), {"audio_max_s": 2.5}, "GOLEM_AUDIO_MAX_S"),
    ],
)
def test_a_limit_names_its_setting(data: bytes, limit: dict[str, float], setting: str) -> None:
    with pytest.raises(AudioAboveLimit, match=setting):
        decode(data, "clip", Settings.read(_env_file=None, **limit))


def test_a_rate_at_which_nobody_can_be_understood_is_refused() -> None:
    with pytest.raises(BadAudio, match="too low for speech"):
        decode(file(tone(1000), 1000), "slow.wav", LIMITS)


def test_a_bomb_is_stopped_at_the_limit_and_not_after_decoding_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = file(np.zeros((16_000 * 600, 1), np.float32), 16_000, "FLAC")
    assert len(bomb) < 200_000, "ten minutes of silence are small"
    blocks = 0

    def counted(data: bytes) -> Iterator[Block]:
        nonlocal blocks
        for block in decode_blocks(data):
            blocks += 1
            yield block

    monkeypatch.setattr("golem_chain.workers.stages.scribe.audio.decode.decode_blocks", counted)
    with pytest.raises(AudioAboveLimit):
        decode(bomb, "bomb.flac", Settings.read(_env_file=None, audio_max_s=20))
    assert blocks <= 2


def test_long_audio_lies_in_a_file_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golem_chain.workers.stages.scribe.audio.decode._SPILL", 20_000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    samples = np.random.default_rng(2).uniform(-3, 3, 300_000).astype(np.float32)
    sound = decode(file(samples, 16_000, subtype="FLOAT"), "long.wav", LIMITS)
    assert isinstance(sound, np.memmap)
    assert not list(tmp_path.iterdir())
    np.testing.assert_allclose(sound, samples / np.abs(samples).max(), rtol=1e-5)
    release(sound)  # releases memory, keeps the samples
    np.testing.assert_allclose(sound, samples / np.abs(samples).max(), rtol=1e-5)


def test_what_was_decoded_before_a_file_breaks_off_is_kept() -> None:
    whole = file(tone(16_000, 60), 16_000, "FLAC")
    sound = decode(whole[: len(whole) // 2], "cut.flac", LIMITS)
    assert 5 * 16_000 < len(sound) < 50 * 16_000
    assert pitch(sound) == pytest.approx(TONE_HZ, abs=2)


HEADS = [file(tone(8000, 0.2), 8000, form) for form in ("WAV", "FLAC", "OGG", "MP3", "AIFF")]
HEADS.append(av_file(tone(44_100, 0.2), 44_100, "mp4", "aac"))


@settings(max_examples=120, deadline=None)
@example(b"ID3\x04\x00\x00\x00\x00\x00\x00")
@given(
    st.one_of(
        st.binary(max_size=400),
        st.tuples(
            st.sampled_from(HEADS), st.integers(0, 2000), st.binary(min_size=1, max_size=60), st.integers(40, 4000)
        ).map(lambda parts: (parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :])[: parts[3]]),
    )
)
def test_no_bytes_crash_the_decoders(data: bytes) -> None:
    limits = Settings.read(_env_file=None, audio_max_s=30)
    assert 0 < (stated_s(data) or 1) < np.inf
    found = outcome(data, "fuzz", limits)
    if isinstance(found, BadAudio):
        assert found.message.startswith("fuzz ")
    else:
        assert np.isfinite(found).all()
        assert np.abs(found).max(initial=0) <= 1


def test_garbage_says_nothing_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    for data in HEADS:
        outcome(data[:100] + os.urandom(50) + data[150:], "garbage")
    assert capfd.readouterr().err == ""


REAL = DATA / "odd"


@pytest.mark.recordings
@pytest.mark.skipif(not REAL.is_dir(), reason="the recordings in ../shared/data/odd are missing")
def test_the_odd_files_found_in_the_wild_are_read_or_refused_as_expected() -> None:
    rows = [json.loads(line) for line in (REAL / "manifest.jsonl").read_text().splitlines()]
    rows = [row for row in rows if not row["path"].startswith("out/")]
    assert rows
    for row in rows:
        path = REAL / row["path"]
        found = outcome(path.read_bytes(), path.name)
        if isinstance(found, BadAudio):
            assert row["expect"] in ("error", "either"), row
            assert re.match(rf"{re.escape(path.name)} .+: .+\.$", found.message)
        else:
            assert row["expect"] != "error", row
            assert len(found) / 16_000 == pytest.approx(row["seconds"] or 0.0, abs=0.1)


@pytest.mark.parametrize(
    "data",
    [
        *(file(tone(16_000, 60), 16_000, form) for form in ("WAV", "FLAC", "MP3", "AIFF")),
        *(av_file(tone(48_000, 60), 48_000, *kind) for kind in (("mp4", "aac"), ("webm", "libopus"), ("adts", "aac"))),
    ],
)
def test_a_header_tells_the_length_before_anything_is_decoded(data: bytes) -> None:
    assert stated_s(data) == pytest.approx(60, rel=0.1)


def test_what_states_no_length_has_none() -> None:
    assert stated_s(b"") is None
    assert stated_s(b"<html>") is None


def test_each_block_of_a_long_recording_is_a_sign_of_life() -> None:
    signs: list[None] = []
    decode(file(tone(16_000, 60), 16_000, "FLAC"), "long", LIMITS, alive=lambda: signs.append(None))
    assert len(signs) >= 3
