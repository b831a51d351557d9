"""Generates synthetic sounds as the bytes of audio files."""

import io

import av
import numpy as np
import soundfile

TONE_HZ = 440.0


def wav(sound: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, 16_000, format="WAV")
    return buffer.getvalue()


def hum(seconds: float, seed: int = 0) -> bytes:
    """Return noise, which the model transcribes if the guards are off."""
    return wav(np.random.default_rng(seed).normal(0, 0.1, round(16_000 * seconds)))


def tone(rate: int, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    """Return a tone as float32 (n, channels), equal in all channels."""
    wave = 0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(round(rate * seconds)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def file(samples: np.ndarray, rate: int, form: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def av_file(samples: np.ndarray, rate: int, container: str, codec: str, layout: str = "mono") -> bytes:
    """Return a sound encoded by FFmpeg."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return buffer.getvalue()
