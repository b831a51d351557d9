"""The two audio decoders, both streaming: libsndfile (soundfile) first, FFmpeg (PyAV) for what that cannot read."""

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile

import av
import av.error
import av.logging
import numpy as np
import soundfile

av.logging.set_level(None)  # FFmpeg prints warnings about damaged packets to standard error; we raise our own errors
av.logging.set_libav_level(av.logging.PANIC)

_SAMPLES = 1 << 18  # samples per read, over all channels: 1 MB
_CHUNK = struct.Struct("<4sI")  # of RIFF: name and bytes
_HEADER = 1024  # bytes; if a larger file yields no frames, its header is wrong

#: PyAV (18.1) counts a frame's planes up to a null pointer, which FFmpeg does not set after the eighth. Frames with
#: that many planes, mostly damaged ones, are interleaved by FFmpeg first; otherwise reading them crashes the process.
_MOST_PLANES = 8

#: Allowed demuxers, each of which reads a single audio file. Playlists (hls, concat, dash) are excluded because they
#: open further files and addresses, image and subtitle demuxers because they have no audio.
_CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,ast,au,avi,caf,dts,eac3,flac,flv,g722,gsm,loas,matroska,webm,mka,mov,mp4,m4a,"
    "3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,nut,oga,ogg,rm,tak,tta,voc,w64,wav,wv,xwma"
)


#: What PyAV raises for damaged files.
_UNREADABLE = (av.error.FFmpegError, ValueError, IndexError, UnicodeError, MemoryError, EOFError)


class Broken(Exception):
    """Neither decoder can read the bytes; the message gives the reason."""


class NoSamples(Exception):
    """There is a header, but what it announces is missing."""


@dataclass(frozen=True)
class Block:
    """A block of decoded audio: float32 (frames, channels) at `rate` Hz."""

    samples: np.ndarray
    rate: int


def decode_blocks(data: bytes) -> Iterator[Block]:
    """Decode `data` block by block. A truncated or partly damaged file yields the audio before the damage.

    Raises Broken if nothing can be decoded, NoSamples if nothing follows the header; yields nothing for a WAV file that
    states to be empty.
    """
    got = False
    for block in _blocks(data):
        got = True
        yield block
    if not got and not _states_to_be_empty(data):
        raise NoSamples


def _blocks(data: bytes) -> Iterator[Block]:
    why = ""
    if not _is_mpeg(data):  # libsndfile's MPEG reader prints warnings to standard error
        got = False
        try:
            for block in _soundfile_blocks(data):
                got = True
                yield block
            if got or len(data) < _HEADER:
                return
        except soundfile.LibsndfileError as exc:
            if got:
                return
            why = str(exc.error_string).strip().rstrip(".")
    try:
        yield from _av_blocks(data)
    except Broken as exc:
        known = why and "not recognised" not in why and "Internal error" not in why
        raise Broken(f"{why[0].lower()}{why[1:]}" if known else str(exc)) from exc


def stated_s(data: bytes) -> float | None:
    """The duration that the header states, or that follows from size and bit rate, seconds; None if there is none.

    Decodes nothing: about a millisecond, whatever the duration. A header may be wrong, so use it for order only.
    """
    try:
        if not _is_mpeg(data):
            with _sound_file(data) as file:
                return float(file.frames / file.samplerate) if file.frames > 0 else None
    except (soundfile.LibsndfileError, ZeroDivisionError):
        pass
    try:
        with _opened(data) as container:
            return float(container.duration / av.time_base) if container.duration and container.duration > 0 else None
    except _UNREADABLE:
        return None


def _is_mpeg(data: bytes) -> bool:
    """Whether the data is MPEG audio of any layer: an ID3 tag or frame at the start, or an MPEG codec in a WAV file."""
    frame = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    return frame or data[:3] == b"ID3" or (data[:4] == b"RIFF" and data[20:22] in (b"\x50\x00", b"\x55\x00"))


def _states_to_be_empty(data: bytes) -> bool:
    """Whether this is a whole WAV file of no samples, as a recorder writes it that was stopped at once."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return False
    at = 12
    while at + _CHUNK.size <= len(data):
        kind, size_bytes = _CHUNK.unpack_from(data, at)
        if kind == b"data":
            return int(size_bytes) == 0
        at += _CHUNK.size + size_bytes + size_bytes % 2
    return False


@contextmanager
def _sound_file(data: bytes) -> Iterator[soundfile.SoundFile]:
    """Open the bytes with libsndfile, as a file in memory. If it called back into Python to read them, an exception
    there (an interruption, no memory) would be lost, and the recording end early."""
    with os.fdopen(os.memfd_create("audio"), "w+b") if hasattr(os, "memfd_create") else TemporaryFile() as held:
        held.write(data)
        held.seek(0)  # writes out what is buffered
        with soundfile.SoundFile(held.fileno(), closefd=False) as file:
            yield file


def _soundfile_blocks(data: bytes) -> Iterator[Block]:
    with _sound_file(data) as file:
        frames = max(1, _SAMPLES // max(1, file.channels))
        while len(samples := file.read(frames, dtype="float32", always_2d=True)):
            yield Block(samples, file.samplerate)


def _opened(data: bytes) -> "av.container.InputContainer":
    # No protocols: a container must not make FFmpeg open other files or addresses.
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
    return av.open(io.BytesIO(data), options=options, metadata_errors="ignore")


def _av_blocks(data: bytes) -> Iterator[Block]:
    got = False
    try:
        with _opened(data) as container:
            if not container.streams.audio:
                raise Broken("it has no audio stream")
            stream = container.streams.audio[0]
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    if not got:
                        raise
                    continue  # skip a damaged packet: the decoder resynchronises
                for frame in frames:
                    if frame.samples and frame.sample_rate:
                        got = True
                        yield Block(_samples(frame), frame.sample_rate)
    except _UNREADABLE as exc:
        if not got:
            raise Broken(_reason(exc)) from exc


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """Convert a frame in any of FFmpeg's sample formats to float32 (frames, channels)."""
    if frame.format.is_planar and frame.layout.nb_channels >= _MOST_PLANES:
        (frame,) = av.AudioResampler("flt", frame.layout, frame.sample_rate).resample(frame)
    raw: np.ndarray = frame.to_ndarray()
    samples = raw.T if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels)
    if raw.dtype == np.uint8:
        return np.asarray((samples.astype(np.float32) - 128) / 128, np.float32)
    if np.issubdtype(raw.dtype, np.integer):
        return np.asarray(samples / -float(np.iinfo(raw.dtype).min), np.float32)
    return np.asarray(samples, np.float32)


def _reason(exc: Exception) -> str:
    """A short reason for an FFmpeg error, without numbers and function names."""
    if isinstance(exc, av.error.DecoderNotFoundError):
        return "its codec is unknown"
    return "it is damaged or not audio"
