"""One recording as it comes in: its format, and its samples on their way into the vault as a WAV file."""

import struct
from dataclasses import dataclass
from typing import Any

from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.intake.uploads import Incoming, Upload, limit_of
from golem_chain.shared.errors import AudioAboveLimit, BadAudio
from golem_chain.shared.settings import Settings

NAME = "wyoming.wav"
_HEADER = struct.Struct("<4sI8sIHHIIHH4sI")
_PCM = 1
#: A size that is not known yet, as FFmpeg writes it to a pipe: decoders read to the end of the file.
_OPEN = 0xFFFFFFFF


@dataclass(frozen=True)
class Format:
    """The format of PCM samples, little-endian, channels interleaved."""

    rate: int  # Hz
    width: int  # bytes of a sample: 1 (unsigned, as in WAV), 2, 3 or 4 (signed)
    channels: int

    @property
    def bytes_per_s(self) -> int:
        """Bytes of a second of audio."""
        return self.rate * self.width * self.channels

    def header(self) -> bytes:
        """Return the header of a WAV file of this format whose length is not known."""
        frame = self.width * self.channels
        return _HEADER.pack(
            *(b"RIFF", _OPEN, b"WAVEfmt ", 16),
            *(_PCM, self.channels, self.rate, self.bytes_per_s, frame, 8 * self.width),
            *(b"data", _OPEN),
        )


def format_of(data: dict[str, Any], settings: Settings) -> Format:
    """Return the format that `audio-start` or `audio-chunk` states. Raises BadAudio, AudioAboveLimit."""
    told = [number for name in ("rate", "width", "channels") if type(number := data.get(name)) is int and number > 0]
    if len(told) < 3 or told[1] > 4:
        raise BadAudio(
            "The audio has no valid format: give its rate in Hz, its width (1 to 4 bytes) and its channels as numbers."
        )
    form = Format(*told)
    limits = (
        ("sample rate", form.rate, settings.audio_max_rate, "GOLEM_AUDIO_MAX_RATE"),
        ("number of channels", form.channels, settings.audio_max_channels, "GOLEM_AUDIO_MAX_CHANNELS"),
    )
    for what, asked, most, setting in limits:
        if asked > most:
            raise AudioAboveLimit(f"The {what} of the audio is above the limit of {most:,} ({setting}): lower it.")
    return form


class Recording:
    """The samples of one request. A part of them is held here, the others are in the vault; `drop` them at last."""

    def __init__(self, door: Door, caller: Caller, form: Format) -> None:
        self.form = form
        self._limit, self._longest_s = limit_of(caller, door.settings), door.settings.audio_max_s
        self._incoming = Incoming(door, NAME, self._limit)
        self.size_bytes = 0  # of the samples

    def check_room(self, more_bytes: int) -> None:
        """Raise AudioAboveLimit if so many bytes more would be too many."""
        size = self.size_bytes + more_bytes
        self._limit.check(_HEADER.size + size)
        if size > self._longest_s * self.form.bytes_per_s:
            longest = f"{self._longest_s:g} s (GOLEM_AUDIO_MAX_S)"
            raise AudioAboveLimit(f"The audio is longer than the limit of {longest}: shorten it.")

    async def add(self, piece: bytes) -> None:
        """Add samples. Raises VaultFull, BrokerAway."""
        if not self.size_bytes:
            await self._incoming.write(self.form.header())
        await self._incoming.write(piece)
        self.size_bytes += len(piece)

    async def finish(self) -> Upload:
        """Return the WAV file, which has at least one sample. Raises VaultFull, BrokerAway."""
        return await self._incoming.finish()

    async def drop(self) -> None:
        """Free what is in the vault, unless a job has it. Raises nothing."""
        await self._incoming.drop()
