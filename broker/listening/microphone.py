"""The microphone, by PortAudio: 16 kHz mono samples of 16 bits, resampled here if the device has no such rate."""

import time
from dataclasses import dataclass
from typing import Any

from golem_chain.broker.listening.sound import RATE, SAMPLES
from golem_chain.broker.listening.source import Blocks
from golem_chain.shared.errors import BadRequest, MissingExtra, NoMicrophone
from golem_chain.shared.text import visible

#: A running device gives a block each 32 ms; after this long without one it is taken to be gone.
SILENT_S = 3.0


@dataclass(frozen=True)
class Device:
    """An input device."""

    index: int
    name: str
    channels: int
    rate_hz: int  # that it prefers
    default: bool


def _portaudio() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise MissingExtra("The microphone needs sounddevice: pip install 'golem-chain[mic]'.") from None
    except OSError:  # its wheels for Linux have no PortAudio
        raise MissingExtra(
            "PortAudio is not installed: apt install libportaudio2, or the like of your system."
        ) from None
    return sounddevice


def devices() -> list[Device]:
    """Return the input devices. Raises MissingExtra, NoMicrophone."""
    portaudio = _portaudio()
    try:
        found, default = portaudio.query_devices(), portaudio.default.device[0]
    except portaudio.PortAudioError as exc:
        raise NoMicrophone(f"The sound devices cannot be listed ({_why(exc)}): check the sound system.") from None
    return [
        Device(n, one["name"], one["max_input_channels"], round(one["default_samplerate"]), n == default)
        for n, one in enumerate(found)
        if one["max_input_channels"] > 0
    ]


def chosen(found: list[Device], wanted: str | None) -> Device:
    """Return the device of this number or with this part of a name, the default one for None.

    Raises NoMicrophone if there is no device, BadRequest if none or several are meant.
    """
    if not found:
        raise NoMicrophone(
            "There is no microphone: connect one, or replay a recording with --from FILE; golem listen --list-devices "
            "shows what is found."
        )
    if wanted is None:
        return next((one for one in found if one.default), found[0])
    named = [one for one in found if str(one.index) == wanted]
    named = named or [one for one in found if one.name.casefold() == wanted.casefold()]
    named = named or [one for one in found if wanted.casefold() in one.name.casefold()]
    if len(named) == 1:
        return named[0]
    which = "no input device" if not named else f"{len(named)} input devices"
    raise BadRequest(f"--device {visible(wanted, 80)} means {which}: choose a number of golem listen --list-devices.")


class Microphone:
    """An open device. Raises MissingExtra, NoMicrophone if it cannot be opened."""

    patient = False

    def __init__(self, device: Device) -> None:
        self.name = device.name
        self._blocks, self._heard_at, self._overflows = Blocks(), time.monotonic(), 0
        self._portaudio = _portaudio()
        self._rate, channels = RATE, 1
        try:
            self._portaudio.check_input_settings(device.index, 1, "int16", samplerate=RATE)
        except self._portaudio.PortAudioError:  # a device without conversion: take what it has
            self._rate, channels = device.rate_hz, min(device.channels, 2)
        self._convert = None if self._rate == RATE else _Resampler(self._rate, channels)
        try:
            self._stream = self._portaudio.RawInputStream(
                samplerate=self._rate,
                blocksize=round(SAMPLES * self._rate / RATE),
                device=device.index,
                channels=channels,
                dtype="int16",
                callback=self._take,
            )
            self._stream.start()
        except self._portaudio.PortAudioError as exc:
            raise NoMicrophone(
                f"The microphone {visible(self.name, 80)} cannot be opened ({_why(exc)}): see that no other program "
                "holds it, or choose another with --device."
            ) from None

    def _take(self, indata: Any, frames: int, when: Any, status: Any) -> None:  # noqa: ARG002 - PortAudio's signature
        """Take a block, in PortAudio's thread."""
        self._heard_at = time.monotonic()
        self._overflows += bool(status.input_overflow)
        self._blocks.put(bytes(indata))

    def read(self, timeout_s: float) -> bytes | None:
        """See `Source`."""
        if pcm := self._blocks.get(timeout_s):
            return self._convert(pcm) if self._convert else pcm
        silent_s = time.monotonic() - self._heard_at
        if silent_s > SILENT_S or (silent_s > 1.0 and not self._stream.active):
            raise NoMicrophone(f"The microphone {visible(self.name, 80)} gives no more sound: connect it again.")
        return b""

    def dropped_s(self) -> float:
        """See `Source`. PortAudio says that it lost sound, not how much: a block is counted for each time."""
        lost, self._overflows = self._overflows, 0
        return lost * SAMPLES / RATE + self._blocks.dropped() / 2 / RATE

    def close(self) -> None:
        """See `Source`."""
        self._stream.close(ignore_errors=True)


class _Resampler:
    """Mixes the channels and resamples to 16 kHz, block by block."""

    def __init__(self, rate: int, channels: int) -> None:
        try:
            import numpy
            import soxr
        except ImportError:
            raise MissingExtra(
                f"The device has no rate of 16 kHz, and resampling from {rate} Hz needs soxr: "
                "pip install 'golem-chain[mic]'."
            ) from None
        self._numpy, self._channels = numpy, channels
        self._stream = soxr.ResampleStream(rate, RATE, 1, dtype="int16")

    def __call__(self, pcm: bytes) -> bytes:
        samples = self._numpy.frombuffer(pcm, self._numpy.int16).reshape(-1, self._channels)
        mixed = samples.mean(axis=1).astype(self._numpy.int16)
        resampled: bytes = self._stream.resample_chunk(mixed).tobytes()
        return resampled


def _why(exc: Exception) -> str:
    """Return PortAudio's reason without its code."""
    text = str(exc.args[0]) if exc.args else type(exc).__name__
    return visible(text.partition(" [")[0].rpartition(": ")[2], 120)
