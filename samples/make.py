"""Generates the ten sample recordings and their manifest: eight spoken commands, one silence, one noise.

usage: .venv/bin/python samples/make.py     (requires espeak-ng; the speech is synthetic and free to use)
"""

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import soundfile
import soxr

HERE = Path(__file__).parent
RATE = 16_000  # Hz
COMMANDS = {  # file name: (text, espeak-ng voice, words per minute)
    "lights-on": ("Please turn on the lights in the kitchen.", "en-us+f3", 140),
    "music-stop": ("Stop playing the music.", "en-gb", 140),
    "timer": ("Set a timer for five minutes.", "en-us+m3", 130),
    "weather": ("What will the weather be like tomorrow?", "en-us", 140),
    "volume-up": ("Turn the volume up, please.", "en-gb+f2", 140),
    "spell": ("Throw a fireball at the dragon.", "en-us+f4", 130),
    "summon": ("I call upon a creature of clay.", "en-us+m7", 130),
    "alchemy": ("Mix these herbs into a healing potion.", "en-gb", 130),
}


def spoken(text: str, voice: str, pace: int) -> np.ndarray:
    """Return the speech as float32 mono at RATE, peak 0.5, padded with 0.2 s of silence on both sides."""
    wave = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", str(pace), "--stdout", text], check=True, capture_output=True
    ).stdout
    samples, rate = soundfile.read(io.BytesIO(wave), dtype="float32")
    samples = soxr.resample(samples, rate, RATE, "HQ")
    return np.pad(samples / np.abs(samples).max() * 0.5, int(0.2 * RATE)).astype(np.float32)


def main() -> None:
    """Write the clips and their manifest."""
    clips = {name: spoken(*how) for name, how in COMMANDS.items()}
    clips["silence"] = np.zeros(3 * RATE, np.float32)
    clips["noise"] = (np.random.default_rng(0).standard_normal(2 * RATE) * 0.02).astype(np.float32)
    lines = []
    for name, samples in clips.items():
        soundfile.write(HERE / f"{name}.flac", samples, RATE, subtype="PCM_16")
        text = COMMANDS[name][0] if name in COMMANDS else ""
        lines.append({"path": f"{name}.flac", "text": text, "seconds": round(len(samples) / RATE, 2)})
    (HERE / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
