"""Sound as it travels in a listener: 16 kHz, mono, 16-bit little-endian samples, in frames of 32 ms; and its level."""

import io
import math
import sys
import wave
from array import array

RATE = 16_000
SAMPLES = 512  # of a frame: what the voice detector takes
FRAME_BYTES = 2 * SAMPLES
SILENCE_DB = -96.0  # of a 16-bit zero


def wav(pcm: bytes | bytearray) -> bytes:
    """Return the sound as a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(pcm)
    return buffer.getvalue()


def level_db(pcm: bytes) -> float:
    """Return the level in dB relative to full scale, from SILENCE_DB to 0: the root mean square of the samples."""
    samples = array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    if not samples:
        return SILENCE_DB
    mean = sum(sample * sample for sample in samples) / len(samples)
    return max(SILENCE_DB, 10 * math.log10(mean / 32768**2)) if mean else SILENCE_DB


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._left = bytearray()

    def cut(self, pcm: bytes) -> list[bytes]:
        """Return the frames that are complete with these bytes; the rest is kept for the next call."""
        self._left += pcm
        whole = len(self._left) // FRAME_BYTES * FRAME_BYTES
        ready = bytes(self._left[:whole])
        del self._left[:whole]
        return [ready[at : at + FRAME_BYTES] for at in range(0, whole, FRAME_BYTES)]
