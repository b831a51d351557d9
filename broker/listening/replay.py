"""A recording in the place of the microphone: a file at the speed at which it was spoken, or raw samples from stdin."""

import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from golem_chain.broker.listening.sound import FRAME_BYTES, RATE
from golem_chain.broker.listening.source import Blocks
from golem_chain.shared.errors import BadAudio, BadRequest, MissingExtra
from golem_chain.shared.text import visible

MOST_S = 4 * 3600  # of a file, as GOLEM_AUDIO_MAX_S


def decoded(file: str) -> bytes:
    """Return a sound file (WAV, FLAC, Ogg, MP3, AIFF) as 16 kHz mono samples.

    Raises BadRequest, BadAudio, MissingExtra.
    """
    try:
        import numpy
        import soundfile
        import soxr
    except ImportError:
        raise MissingExtra("To replay a file, install soundfile and soxr: pip install 'golem-chain[mic]'.") from None
    name = visible(file, 200)
    try:
        with soundfile.SoundFile(file) as opened:
            if opened.frames > MOST_S * opened.samplerate:
                raise BadAudio(f"{name} is longer than {MOST_S // 3600} hours: replay a shorter recording.")
            samples, rate = opened.read(dtype="float32", always_2d=True), opened.samplerate
    except OSError as exc:
        raise BadRequest(f"{name} cannot be read: {exc.strerror or exc}.") from None
    except (RuntimeError, ValueError, TypeError):
        raise BadAudio(
            f"{name} is not a sound file that can be replayed: give a WAV, FLAC, Ogg, MP3 or AIFF file."
        ) from None
    if not len(samples):
        raise BadAudio(f"{name} has no sound: give another file.")
    resampled = soxr.resample(samples.mean(axis=1), rate, RATE)
    pcm: bytes = (numpy.clip(resampled, -1.0, 1.0) * 32767).astype("<i2").tobytes()
    return pcm


class Replay:
    """Gives each frame of a recording when a microphone would: when it has been spoken to its end."""

    patient = True

    def __init__(self, pcm: bytes, name: str = "recording", clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._pcm, self._clock, self._at = pcm, clock, 0
        self.began: float | None = None  # by the clock, when the first sample was spoken

    def read(self, timeout_s: float) -> bytes | None:
        """See `Source`."""
        if self._at >= len(self._pcm):
            return None
        now = self._clock()
        self.began = self.began if self.began is not None else now
        end = min(len(self._pcm), self._at + FRAME_BYTES)
        wait_s = self.began + end / (2 * RATE) - now
        if wait_s > timeout_s:
            time.sleep(timeout_s)
            return b""
        if wait_s > 0:
            time.sleep(wait_s)
        block, self._at = self._pcm[self._at : end], end
        return block

    def dropped_s(self) -> float:
        """See `Source`: nothing is dropped, a slow reader gets the frames late."""
        return 0.0

    def close(self) -> None:
        """See `Source`."""


class Piped:
    """Raw samples from a pipe (16 kHz, mono, 16-bit little-endian), as fast as they come."""

    name, patient = "stdin", True

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._blocks, self._ended = stream, Blocks(), threading.Event()
        self._free = threading.Semaphore(100)  # blocks that may wait: the pipe waits for us, and nothing is dropped
        threading.Thread(target=self._pump, name="golem-listen-stdin", daemon=True).start()

    def _pump(self) -> None:
        try:
            while pcm := self._stream.read(FRAME_BYTES):
                self._free.acquire()
                self._blocks.put(pcm)
        except (OSError, ValueError):
            pass  # closed under us: the end
        finally:
            self._ended.set()

    def read(self, timeout_s: float) -> bytes | None:
        """See `Source`."""
        ended = self._ended.is_set()  # asked first: what was put before the end is still there
        if pcm := self._blocks.get(0.0 if ended else timeout_s):
            self._free.release()
            return pcm
        return None if ended else b""

    def dropped_s(self) -> float:
        """See `Source`."""
        return 0.0

    def close(self) -> None:
        """See `Source`."""
