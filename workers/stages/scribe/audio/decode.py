"""Decodes audio files of any container to float32 mono at 16 kHz, within the limits of the settings.

A file is decoded block by block (`containers.py`), its channels are averaged, and soxr resamples the result at the
quality that librosa calls `soxr_hq`. Of the header, only sample rate and channels are trusted: decoding stops when a
limit is exceeded, so a decompression bomb costs one block. Audio longer than five minutes is stored in an unlinked,
memory-mapped temporary file, so that memory use does not grow with the duration.
"""

import mmap
import tempfile
from collections.abc import Callable, Iterable

import numpy as np
import soxr

from golem_chain.shared.errors import AudioAboveLimit, BadAudio
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.stages.scribe.audio.containers import Block, Broken, NoSamples, decode_blocks

RATE = 16_000  # Hz, what Whisper and the voice activity detector take
QUALITY = "HQ"  # soxr's 20-bit recipe, librosa's `soxr_hq`
LOWEST_RATE = 3000  # Hz; lower rates cannot carry speech
_SPILL = 300 * RATE  # samples kept in memory, 19 MB
_LOUDEST = 65_536.0  # float files may have integer-scaled values; larger ones are not audio


def decode(data: bytes, name: str, settings: Settings, alive: Callable[[], None] = lambda: None) -> np.ndarray:
    """Decode a file to float32 (n,), mono, 16 kHz, finite, within [-1, 1]; n is 0 for a WAV file that states to be
    empty. Calls `alive` after each block.

    Raises BadAudio (not audio, damaged, no audio stream, no samples) or AudioAboveLimit (bytes, seconds, channels,
    sample rate), with a message that starts with `name`.
    """
    if not data:
        raise BadAudio(f"{name} is empty (0 bytes): record or copy it again.")
    if len(data) > settings.audio_max_bytes:
        raise AudioAboveLimit(
            f"{name} has {format_bytes(len(data))} but the limit is {format_bytes(settings.audio_max_bytes)}: "
            "shorten or compress it, or raise GOLEM_AUDIO_MAX_BYTES."
        )
    try:
        mono, mix_cancels = _gather(decode_blocks(data), name, settings, alive)
        if mix_cancels is not None:
            mono, _ = _gather(decode_blocks(data), name, settings, alive, channel=mix_cancels)
    except Broken as exc:
        raise BadAudio(f"{name} cannot be read as audio ({exc}): convert it to WAV, FLAC, MP3 or M4A.") from exc
    except NoSamples:
        raise BadAudio(f"{name} has a header but no samples: record or copy it again.") from None
    return mono


def release(samples: np.ndarray) -> None:
    """Release the pages of a memory-mapped recording; they are read from its file again on access."""
    held: object = samples.base
    if isinstance(held, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)


def cancels(mix_energy: float, channel_energies: np.ndarray) -> int | None:
    """The loudest channel if averaging cancels the audio (channels in opposite phase), otherwise None.

    Speech in one of n channels keeps 1/n² of its energy in the average; far less means that it was cancelled.
    """
    if len(channel_energies) < 2:
        return None
    loudest = int(np.argmax(channel_energies))
    return loudest if mix_energy < 0.2 * channel_energies[loudest] / len(channel_energies) ** 2 else None


def _gather(
    blocks: Iterable[Block], name: str, settings: Settings, alive: Callable[[], None], channel: int | None = None
) -> tuple[np.ndarray, int | None]:
    """Combine the blocks into one mono array (the average, or one channel), and return it with what `cancels` gives."""
    sink = _Sink()
    resampler: soxr.ResampleStream | None = None
    rate, seconds, mix_energy = 0, 0.0, 0.0
    energies = np.zeros(1)
    for block in blocks:
        alive()
        _check_format(block, name, settings)
        samples = _clean(block.samples)
        mono = samples.mean(axis=1) if channel is None else samples[:, min(channel, samples.shape[1] - 1)]
        if samples.shape[1] != len(energies):
            energies, mix_energy = np.zeros(samples.shape[1]), 0.0
        mix_energy += float(np.square(mono, dtype=np.float64).sum())
        energies += np.square(samples, dtype=np.float64).sum(axis=0)
        seconds += len(mono) / block.rate
        if seconds > settings.audio_max_s:
            raise AudioAboveLimit(
                f"{name} is longer than {settings.audio_max_s:g} s: shorten it, or raise GOLEM_AUDIO_MAX_S."
            )
        if block.rate != rate:
            if resampler is not None:
                sink.write(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            rate = block.rate
            resampler = soxr.ResampleStream(rate, RATE, 1, "float32", QUALITY) if rate != RATE else None
        sink.write(mono if resampler is None else resampler.resample_chunk(np.ascontiguousarray(mono)))
    if resampler is not None:
        sink.write(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return sink.close(), cancels(mix_energy, energies) if channel is None else None


def _check_format(block: Block, name: str, settings: Settings) -> None:
    channels = block.samples.shape[1]
    if channels > settings.audio_max_channels:
        raise AudioAboveLimit(
            f"{name} has {channels} channels but the limit is {settings.audio_max_channels}: mix it down, or raise "
            "GOLEM_AUDIO_MAX_CHANNELS."
        )
    if block.rate > settings.audio_max_rate:
        raise AudioAboveLimit(
            f"{name} has a sample rate of {block.rate} Hz but the limit is {settings.audio_max_rate} Hz: resample it, "
            "or raise GOLEM_AUDIO_MAX_RATE."
        )
    if block.rate < LOWEST_RATE:
        raise BadAudio(f"{name} has a sample rate of {block.rate} Hz, too low for speech: record it at 16000 Hz.")


def _clean(samples: np.ndarray) -> np.ndarray:
    """Replace NaN and infinities by 0 and clip absurd values."""
    if not np.isfinite(samples).all():
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(np.clip(samples, -_LOUDEST, _LOUDEST), np.float32)


class _Sink:
    """Collects mono blocks in memory up to `_SPILL` samples, then in a temporary file."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._held = 0
        self._peak = 0.0
        self._file: tempfile._TemporaryFileWrapper[bytes] | None = None

    def write(self, block: np.ndarray) -> None:
        if not len(block):
            return
        self._peak = max(self._peak, float(np.abs(block).max()))
        self._blocks.append(np.ascontiguousarray(block, np.float32))
        self._held += len(block)
        if self._held > _SPILL:
            self._file = self._file or tempfile.NamedTemporaryFile(prefix="golem-audio-")  # noqa: SIM115 - see close
            for held in self._blocks:
                self._file.write(held.data)
            self._blocks, self._held = [], 0

    def close(self) -> np.ndarray:
        """Return the samples written, scaled down if any exceeds [-1, 1] (float files)."""
        scale = np.float32(1 / max(self._peak, 1.0))
        if self._file is None:
            whole = np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.float32)
            return whole * scale if scale < 1 else whole
        for held in self._blocks:
            self._file.write(held.data)
        self._file.flush()
        mapped = np.memmap(self._file.name, np.float32, "r+")  # stays valid after the file is unlinked
        self._file.close()
        if scale < 1:
            for start in range(0, len(mapped), _SPILL):
                mapped[start : start + _SPILL] *= scale
        return mapped
