"""Makes the recordings of the calibration set from commands.toml: plain, noisy and far speech, and their manifest.

usage: .venv/bin/python -m golem_chain.workers.proof.calibration.make FOLDER     (requires espeak-ng)
"""

import io
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from golem_chain.workers.evaluation.conditions import Samples, computed, mix, part_of
from golem_chain.workers.stages.scribe.audio.decode import RATE

_HERE = Path(__file__).parent
#: Of Opus, from 0 (large) to 1 (small): about 32 kbit/s.
_COMPRESSION = 0.85
#: Signal-to-noise ratios of the hard commands in turn, dB; and reverberation times of their rooms, seconds.
_SNRS_DB = (20.0, 10.0, 5.0, 15.0)
_ROOMS_S = (0.0, 0.5, 0.3, 0.8)
#: Energy of the direct sound relative to all of a room's echoes, in a distance of some metres.
_DIRECT = 0.35


def spoken(text: str, voice: str, pace: int) -> Samples:
    """Return the speech as float32 mono at 16 kHz, peak 0.4, with 0.3 s of silence on both sides. `pace`: words per
    minute."""
    said = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", str(pace), "--stdout", text], check=True, capture_output=True
    ).stdout
    samples, rate = soundfile.read(io.BytesIO(said), dtype="float32")
    samples = soxr.resample(samples, rate, RATE, "HQ")
    return np.pad(samples / np.abs(samples).max() * 0.4, int(0.3 * RATE)).astype(np.float32)


def in_room(samples: Samples, seconds: float, random: np.random.Generator) -> Samples:
    """Return the speech as a microphone across a room hears it: convolved with exponentially decaying noise, 60 dB in
    `seconds`. Source: Polack, "La transmission de l'énergie sonore dans les salles", 1988."""
    if not seconds:
        return samples
    at = np.arange(int(seconds * RATE)) / RATE
    echoes = random.normal(size=len(at)) * 10 ** (-3 * at / seconds)
    echoes *= np.sqrt((1 - _DIRECT) / _DIRECT / np.square(echoes).sum())
    echoes[0] += 1.0
    far = np.convolve(samples, echoes)[: len(samples) + int(0.2 * RATE)]
    return np.asarray(far / np.abs(far).max() * 0.15, np.float32)


def clips() -> Iterator[tuple[str, Samples, str, str]]:
    """Yield name, samples, text and language of each recording."""
    said = tomllib.loads((_HERE / "commands.toml").read_text(encoding="utf-8"))
    noises = [noise for noise in computed(1) if noise.name != "hum"]
    for number, (text, voice, pace) in enumerate(said["plain"]):
        yield f"plain-{number:02}", spoken(text, voice, pace), text, "en"
    for number, (text, voice, pace) in enumerate(said["hard"]):
        random = np.random.default_rng(number)
        far = in_room(spoken(text, voice, pace), _ROOMS_S[number % len(_ROOMS_S)], random)
        noise = part_of(noises[number % len(noises)], len(far), random)
        yield f"hard-{number:02}", mix(far, noise, _SNRS_DB[number // 2 % len(_SNRS_DB)]), text, "en"
    for number, (text, voice, pace) in enumerate(said["sentences"]):
        yield f"sentence-{number:02}", spoken(text, voice, pace), text, "en"
    for number, (text, voice, pace, language) in enumerate(said["others"]):
        yield f"{language}-{number:02}", spoken(text, voice, pace), text, language


def main(folder: Path) -> None:
    """Write the recordings as Opus, and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, samples, text, language in clips():
        path = folder / f"{name}.opus"
        soundfile.write(path, samples, RATE, "OPUS", format="OGG", compression_level=_COMPRESSION)
        lines.append(json.dumps({"path": path.name, "text": text, "language": language}, ensure_ascii=False))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
