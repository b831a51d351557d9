"""The conditions of an evaluation: noise at a given distance below the voice, and a telephone line. Pure.

The signal-to-noise ratio (SNR) is that of the active signal: its mean power over the frames of 32 ms that are at most
25 dB below the loudest, so that a long pause does not make the noise quieter. The limit is about that of the active
speech level of ITU-T P.56, which lies 15.9 dB below the level itself; the loudest frame of speech is some 9 dB above
it. The noise counts with all of its part that is mixed in. A digitally silent recording has no level: it counts as
NOMINAL_DB. All that is random comes from the seed, the name of the recording and the noise: the same part of the same
noise at every SNR.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from golem_chain.workers.stages.scribe.audio.decode import RATE
from golem_chain.workers.stages.scribe.audio.speech import FRAME_S

Samples = npt.NDArray[np.float32]

#: Frames down to this far below the loudest are active, dB.
ACTIVE_DB = 25.0
#: Level of speech in telephony relative to full scale, dB. Source: ITU-T P.830.
NOMINAL_DB = -26.0
#: Mean power below which a recording is silent, that of 16-bit audio with one step.
_NOTHING = 2.0**-30
#: A part of a noise with less than this share of its mean power is a pause.
_PAUSE = 0.01

#: Sample rate of a telephone line and the band that it passes, Hz. Sources: ITU-T G.711, G.712.
LINE_RATE = 8000
LINE_BAND = (300.0, 3400.0)
_TAPS = 401  # of the band filter: edges of 70 Hz

#: Length of the computed noises, seconds.
_COMPUTED_S = 60.0
_TALKERS = 6
_SYLLABLES_HZ = (2.0, 6.0)
_MAINS_HZ = 50.0


@dataclass(frozen=True)
class Noise:
    """A noise to mix in; `samples` are mono at 16 kHz. Raises ValueError for one that is silent."""

    name: str
    samples: Samples
    path: Path | None = None  # resolved; None for a computed one

    def __post_init__(self) -> None:
        if power(self.samples) < _NOTHING:
            raise ValueError(f"the noise {self.name} is silent")


@dataclass(frozen=True)
class Condition:
    """What is done to every recording: noise at an SNR in dB, a telephone line, or nothing."""

    name: str
    snr_db: float | None = None
    telephone: bool = False


CLEAN = Condition("clean")
TELEPHONE = Condition("telephone", telephone=True)


def conditions(snrs_db: Sequence[float], *, telephone: bool) -> tuple[Condition, ...]:
    """Return the conditions in the order of the report: clean, the noise from little to much, telephone."""
    noisy = [Condition(f"{snr:g} dB", snr) for snr in sorted(dict.fromkeys(snrs_db), reverse=True)]
    return (CLEAN, *noisy, *([TELEPHONE] if telephone else []))


def power(samples: Samples) -> float:
    """Return the mean square; 0 for no samples."""
    return float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0


def active_power(samples: Samples) -> float:
    """Return the mean square over the active frames."""
    size = round(FRAME_S * RATE)
    whole = len(samples) // size * size
    if not whole:
        return power(samples)
    frames = np.square(samples[:whole], dtype=np.float64).reshape(-1, size).mean(1)
    return float(frames[frames >= frames.max() * 10 ** (-ACTIVE_DB / 10)].mean())


def mix(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Return the recording with a noise of the same length at an SNR, both scaled down together if their sum exceeds
    full scale: nothing is clipped."""
    signal = active_power(samples)
    signal = signal if signal >= _NOTHING else 10 ** (NOMINAL_DB / 10)
    gain = np.sqrt(signal / power(noise) / 10 ** (snr_db / 10)) if power(noise) else 0.0
    mixed = samples.astype(np.float64) + gain * noise
    return np.asarray(mixed / max(float(np.abs(mixed).max(initial=0.0)), 1.0), np.float32)


def part_of(noise: Noise, length: int, random: np.random.Generator) -> Samples:
    """Return `length` samples of a noise, from a random place on, repeated if it is too short. A pause is not taken:
    the part then begins at the noise's loudest sample."""
    start = int(random.integers(len(noise.samples)))
    found = np.take(noise.samples, np.arange(start, start + length), mode="wrap")
    if power(found) < _PAUSE * power(noise.samples):
        start = int(np.abs(noise.samples).argmax())
        found = np.take(noise.samples, np.arange(start, start + length), mode="wrap")
    return found


def choose(noises: Sequence[Noise], path: Path, seed: int) -> tuple[Noise, np.random.Generator] | None:
    """Return the noise for a recording, and the generator for its part; None if the only noise is the recording itself.
    The file's name decides, not its folder: the figures are those of another machine."""
    others = [noise for noise in noises if noise.path != path.resolve()]
    if not others:
        return None
    digest = blake2b(f"{seed}:{path.name}".encode(), digest_size=8).digest()
    random = np.random.default_rng(int.from_bytes(digest, "big"))
    return others[int(random.integers(len(others)))], random


def telephone(samples: Samples) -> bytes:
    """Return the recording as a telephone line carries it: a WAV file at 8 kHz, 300 to 3,400 Hz, in G.711 μ-law."""
    narrow = np.asarray(soxr.resample(samples, RATE, LINE_RATE, "HQ"), np.float64)
    at = np.arange(_TAPS) - _TAPS // 2
    low, high = (2 * edge / LINE_RATE * np.sinc(2 * edge / LINE_RATE * at) for edge in LINE_BAND)
    passed = np.convolve([*narrow, 0.0], (high - low) * np.hamming(_TAPS))[_TAPS // 2 :][: len(narrow)]
    return mu_law(passed / max(float(np.abs(passed).max(initial=0.0)), 1.0))


def mu_law(samples: npt.NDArray[Any]) -> bytes:
    """Return 8 kHz samples within [-1, 1] as a WAV file in G.711 μ-law, 8 bits each."""
    return _file(samples, LINE_RATE, "ULAW")


def wav(samples: Samples) -> bytes:
    """Return 16 kHz samples as a WAV file of floats, which loses nothing."""
    return _file(samples, RATE, "FLOAT")


def computed(seed: int) -> tuple[Noise, ...]:
    """Return the noises for those who have no recordings of any: `pink`, `babble` (noise with the spectrum of speech,
    of six talkers in the rhythm of syllables) and `hum` (mains with its harmonics, and some pink noise)."""
    random, count = np.random.default_rng(seed), round(_COMPUTED_S * RATE)
    pink = _shaped(random, count, lambda hz: hz**-0.5)
    babble = np.sum([_talker(random, count) for _ in range(_TALKERS)], axis=0)
    at = 2 * np.pi * _MAINS_HZ * np.arange(count) / RATE
    hum = np.sum([np.sin(n * at + random.uniform(0, 2 * np.pi)) / n for n in (1, 2, 3, 5, 7, 9, 11)], axis=0)
    hum = hum + 0.1 * pink / pink.std()
    named = {"pink": pink, "babble": babble, "hum": hum}
    return tuple(Noise(name, np.asarray(0.05 * noise / noise.std(), np.float32)) for name, noise in named.items())


def _talker(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Return noise whose long-term spectrum is that of speech (flat to 500 Hz, then 9 dB per octave less), loud and
    quiet in the rhythm of syllables."""
    voice = _shaped(random, count, lambda hz: np.maximum(hz, 500.0) ** -1.5 * (hz > 80))
    low, high = _SYLLABLES_HZ
    beat = _shaped(random, count, lambda hz: np.asarray((hz >= low) & (hz <= high), np.float64))
    return np.asarray(voice * np.exp(beat / beat.std()), np.float64)


def _shaped(
    random: np.random.Generator, count: int, shape: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:
    """Return Gaussian noise with an amplitude spectrum; the function gets frequencies above 0, in Hz."""
    spectrum = np.fft.rfft(random.normal(size=count))
    hz = np.fft.rfftfreq(count, 1 / RATE)
    spectrum[0] = 0.0
    spectrum[1:] *= shape(np.asarray(hz[1:], np.float64))
    return np.asarray(np.fft.irfft(spectrum, count), np.float64)


def _file(samples: npt.NDArray[Any], rate: int, subtype: str) -> bytes:
    held = io.BytesIO()
    soundfile.write(held, samples, rate, subtype, format="WAV")
    return held.getvalue()
