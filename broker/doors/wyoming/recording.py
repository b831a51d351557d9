"""One recording as it comes in: its format, and its samples as a WAV file within the limits on audio."""

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

from golem_chain.broker.doors.intake.uploads import Upload
from golem_chain.shared.errors import AudioAboveLimit, BadAudio
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes

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
    """The samples of one request."""

    def __init__(self, form: Format, settings: Settings) -> None:
        self.form, self._settings = form, settings
        self._pieces = [form.header()]
        self.size_bytes = 0  # of the samples

    def check_room(self, more_bytes: int) -> None:
        """Raise AudioAboveLimit if so many bytes more would be too many."""
        size, most = self.size_bytes + more_bytes, self._settings.audio_max_bytes - _HEADER.size
        if size > most:
            raise AudioAboveLimit(
                f"The audio is above the limit of {format_bytes(most)} (GOLEM_AUDIO_MAX_BYTES): shorten it."
            )
        longest_s = self._settings.audio_max_s
        if size > longest_s * self.form.bytes_per_s:
            raise AudioAboveLimit(
                f"The audio is longer than the limit of {longest_s:g} s (GOLEM_AUDIO_MAX_S): shorten it."
            )

    def add(self, piece: bytes) -> None:
        """Add samples."""
        self._pieces.append(piece)
        self.size_bytes += len(piece)

    def finish(self) -> Upload:
        """Return the WAV file."""
        data = b"".join(self._pieces)
        return Upload(NAME, len(data), hashlib.sha256(data).hexdigest(), data)
