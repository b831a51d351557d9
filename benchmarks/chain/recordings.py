"""The recordings that the benchmarks run: found beside the checkout, or made of these for a wanted length."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.scribe.audio import decode

ROOT = Path(__file__).resolve().parents[2]
#: Recordings of people, if present next to the checkout; otherwise the synthetic samples are used.
RECORDINGS = ROOT.parent / "shared" / "data"
CLIPS = 10
PAUSE_S = 0.4  # between recordings that are joined: a breath


def named(file: str) -> str:
    """Return a recording's path relative to its data folder; any other path unchanged."""
    for base in (RECORDINGS, ROOT):
        if Path(file).is_absolute() and Path(file).is_relative_to(base):
            return str(Path(file).relative_to(base))
    return file


def texts(folder: Path) -> list[JsonObject]:
    """Return the rows of a manifest that have a text and are under 30 s."""
    if not (folder / "manifest.jsonl").is_file():
        return []
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return [row | {"file": folder / row["path"]} for row in rows if row.get("text") and row["seconds"] < 30]


def spoken() -> tuple[list[JsonObject], str]:
    """Return rows with `file` and `seconds` of all recordings with a text, and a description of them. Raises BadRequest
    if there are none."""
    rows = [row for name in ("sentences", "commands") for row in texts(RECORDINGS / name)]
    if rows:
        return rows, "recordings of read and spoken English"
    rows = texts(ROOT / "samples")
    if not rows:
        raise BadRequest("There are no recordings to measure with: run golem bench in a checkout, which has samples.")
    return rows, f"synthetic samples (no recordings lie at {RECORDINGS.name})"


def ten_clips() -> tuple[list[Path], str]:
    """Return ten recordings under 30 s, and a description of them."""
    rows = texts(RECORDINGS / "sentences")
    if len(rows) >= CLIPS:
        picked = rows[:: len(rows) // CLIPS][:CLIPS]
        return [row["file"] for row in picked], (
            f"{CLIPS} recordings of read and spoken English, {sum(row['seconds'] for row in picked):.0f} s together"
        )
    paths = [path for path in sorted((ROOT / "samples").glob("*.flac")) if path.stem not in ("silence", "noise")]
    return (paths * 2)[:CLIPS], f"{CLIPS} synthetic samples (no recordings lie at {RECORDINGS.name})"


def nearest(rows: Sequence[JsonObject], seconds: float, most: int) -> list[Path]:
    """Return at most `most` recordings whose length is closest to `seconds`."""
    return [row["file"] for row in sorted(rows, key=lambda row: abs(row["seconds"] - seconds))[:most]]


def lengths(clips: int, shortest_s: float, longest_s: float) -> list[float]:
    """Return `clips` lengths that are spread evenly over a range, in an order that is random but always the same."""
    step = (longest_s - shortest_s) / max(clips - 1, 1)
    spread = [shortest_s + step * n for n in range(clips)]
    random.Random(0).shuffle(spread)
    return spread


def join(sounds: Sequence[npt.NDArray[np.float32]], seconds: float, first: int) -> npt.NDArray[np.float32]:
    """Return sounds (16 kHz, mono), one after the other from the one with number `first`, cut at `seconds`."""
    pause = np.zeros(round(PAUSE_S * decode.RATE), dtype=np.float32)
    wanted, parts, length, n = round(seconds * decode.RATE), [pause[:0]], 0, first
    while length < wanted:
        parts += [sounds[n % len(sounds)], pause]
        length += len(parts[-2]) + len(pause)
        n += 1
    return np.concatenate(parts)[:wanted]


def write_joined(rows: Sequence[JsonObject], wanted_s: Sequence[float], folder: Path) -> list[Path]:
    """Write a FLAC file of each wanted length (seconds), made of the recordings; each begins with another one."""
    limits = Settings.read(_env_file=None)
    sounds = [decode.decode(row["file"].read_bytes(), row["file"].name, limits) for row in rows]
    files = []
    for n, seconds in enumerate(wanted_s):
        files.append(folder / f"{n:03}-{seconds:.0f}s.flac")
        soundfile.write(files[-1], join(sounds, seconds, first=n), decode.RATE)
    return files
