"""Replays recordings at real speed to a listener with a worker of its own, and times what is shown.

A recording counts from its first to its last voiced frame, p(speech) >= 0.5 by the Scribe's own detector, which the
listener does not use. Silence follows each, so that the listener has to find the end itself.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np

from golem_chain.benchmarks.chain import run as chain
from golem_chain.benchmarks.report import Table
from golem_chain.broker.listening.endpoint import Bounds
from golem_chain.broker.listening.listener import Event, Final, Listener, Lost, Partial, Words
from golem_chain.broker.listening.replay import Replay, decoded
from golem_chain.broker.listening.sender import Sender, System
from golem_chain.broker.listening.session import Session
from golem_chain.broker.listening.sound import RATE
from golem_chain.broker.listening.voice import detector
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import GolemError
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import JobOptions
from golem_chain.shared.settings import Settings
from golem_chain.workers.evaluation.wer import edits, words
from golem_chain.workers.stages.scribe.audio import vad

ROOT = Path(__file__).resolve().parents[2]
#: The authors' recordings; the synthetic samples take their place where they are missing.
RECORDINGS = ROOT.parent / "shared" / "data"
SILENCE_S = 2.5  # after each recording: long enough for the answer
VOICED = 0.5
CLIPS = 30
ALONE = 10  # recordings whose Scribe's job is timed by itself

FINAL_S, FIRST_S, WRONG = 0.7, 1.2, 0.15  # the targets


@dataclass(frozen=True)
class Clip:
    """A recording, and where its voice begins and ends, seconds from its first sample."""

    file: Path
    text: str | None  # what is said, if that is known
    pcm: bytes
    voice: tuple[float, float]


@dataclass
class Seen:
    """What was shown for one recording. Times in seconds: of the first words from the beginning of the voice, of the
    final ones from its end."""

    clip: Clip
    shown: list[tuple[float, Event]] = field(default_factory=list)  # stream time

    @property
    def text(self) -> str:
        """The final words; of several utterances if the recording has pauses."""
        return " ".join(one.text for _, one in self.shown if isinstance(one, Words))

    def first_s(self, at_s: float) -> float | None:
        """Until any word was shown. `at_s`: when the recording began in the stream."""
        found = [s for s, one in self.shown if isinstance(one, Words) or (isinstance(one, Partial) and _text(one))]
        return found[0] - at_s - self.clip.voice[0] if found else None

    def final_s(self, at_s: float) -> float | None:
        """Until the last final words were shown."""
        found = [s for s, one in self.shown if isinstance(one, Words)]
        return found[-1] - at_s - self.clip.voice[1] if found else None

    def reply_s(self, at_s: float) -> float | None:
        """Until the last Outcome."""
        found = [s for s, one in self.shown if isinstance(one, Final)]
        return found[-1] - at_s - self.clip.voice[1] if found else None

    def taken_back(self, part: Callable[[Partial], str]) -> tuple[int, int]:
        """Return how many words were shown before the final ones, and how many of them are not in these at their
        place. Every view counts with all its words."""
        final = {one.number: words(one.text) for _, one in self.shown if isinstance(one, Words)}
        told = wrong = 0
        for _, one in self.shown:
            if isinstance(one, Partial):
                view, last = words(part(one)), final.get(one.number, [])
                same = sum(m.size for m in SequenceMatcher(None, view, last, autojunk=False).get_matching_blocks())
                told, wrong = told + len(view), wrong + len(view) - same
        return told, wrong


class _Recorder:
    """A screen that notes when what was shown."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self.shown = clock, list[tuple[float, Event]]()

    def show(self, event: Event) -> None:
        """See `Screen`."""
        self.shown.append((self._clock(), event))

    def level(self, db: float, *, speaking: bool) -> None:
        """See `Screen`."""

    def tell(self, sentence: str) -> None:
        """See `Screen`: nothing goes wrong in a measurement."""
        raise GolemError(sentence)


def clips(files: Sequence[Path], most: int = CLIPS) -> list[Clip]:
    """Return these recordings, or else English ones of several speakers under 15 s, at equal distances in the data."""
    texts: dict[Path, str | None] = dict.fromkeys(files)
    if not texts:
        for folder in ("sentences", "commands"):
            texts |= _texts(RECORDINGS / folder)
    if not texts:
        texts = {path: None for path in (ROOT / "samples").glob("*.flac") if path.stem not in ("silence", "noise")}
    found = sorted(texts)
    if not files and len(found) > most:
        found = [found[n * len(found) // most] for n in range(most)]
    return [_clip(file, texts[file]) for file in found]


def _texts(folder: Path) -> dict[Path, str | None]:
    manifest = folder / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()] if manifest.is_file() else []
    return {folder / row["path"]: row["text"] for row in rows if row.get("text") and row["seconds"] < 15}


def _clip(file: Path, text: str | None) -> Clip:
    pcm = decoded(str(file))
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    chances = vad.detector().probabilities(samples, 0.5 / max(float(np.abs(samples).max()), 1e-3))
    voiced = np.flatnonzero(chances >= VOICED)
    if not len(voiced):
        raise GolemError(f"{file} has no voice: leave it out.")
    frame_s = vad.FRAME / vad.RATE
    return Clip(file, text, pcm, (float(voiced[0]) * frame_s, float(voiced[-1] + 1) * frame_s))


def measure(settings: Settings, chosen: Sequence[Clip], say: Callable[[str], None], pause_s: float) -> JsonObject:
    """Replay the recordings one after the other and return the figures. Raises GolemError if one has no answer."""
    silence = bytes(2 * round(SILENCE_S * RATE))
    starts, pcm = [], bytearray(silence)
    for clip in chosen:
        starts.append(len(pcm) / 2 / RATE)
        pcm += clip.pcm + silence
    say(f"{len(chosen)} recordings, {len(pcm) / 2 / RATE:.0f} s with the silence between them")
    with chain.system(settings, [], resident="auto") as system, Pipeline(system.settings) as pipeline:
        whole = {clip.file: _heard(pipeline, clip) for clip in (chosen[0], *chosen)}  # the first time it also warms
        alone_s = statistics.median(_alone_s(pipeline, clip) for clip in chosen[:ALONE])
        source = Replay(bytes(pcm), "recordings")
        screen = _Recorder(lambda: time.monotonic() - (source.began or 0.0))
        final = JobOptions(lane="interactive")
        partial = JobOptions(stop="scribe", lane="interactive", expires_s=4.0)
        sender = Sender(System(system.settings, final, partial))
        try:
            Session(source, detector(), Listener(Bounds(pause_s=pause_s)), sender, screen).run()
        finally:
            sender.close()
    return {"alone_s": alone_s, **_figures(_of_each(chosen, starts, screen.shown), starts, whole)}


def _heard(pipeline: Pipeline, clip: Clip) -> str:
    """Return the words of the whole recording as one job, with all stages, so that their models are loaded."""
    [outcome] = pipeline.wait([pipeline.submit(clip.file.read_bytes())])
    return outcome.transcript.text if outcome.transcript else ""


def _alone_s(pipeline: Pipeline, clip: Clip) -> float:
    """Return the seconds from the submit of the recording to its words, with nothing else to do."""
    started = time.perf_counter()
    list(pipeline.wait([pipeline.submit(clip.file.read_bytes(), stop="scribe", lane="interactive")]))
    return time.perf_counter() - started


def _of_each(chosen: Sequence[Clip], starts: Sequence[float], shown: Iterable[tuple[float, Event]]) -> list[Seen]:
    """Sort what was shown by recording: an utterance belongs to that in which its first view or its start lies."""
    seen, place = [Seen(clip) for clip in chosen], dict[int, int]()
    for at_s, event in shown:
        if isinstance(event, Lost):
            raise GolemError(f"An utterance was lost: {event.why}.")
        begun_s = event.start_s + 0.5 if isinstance(event, Words | Final) else at_s  # it begins before its voice
        n = place.setdefault(event.number, max(0, sum(start <= begun_s for start in starts) - 1))
        seen[n].shown.append((at_s, event))
    return seen


def _figures(seen: Sequence[Seen], starts: Sequence[float], whole: dict[Path, str]) -> JsonObject:
    rows: list[JsonObject] = []
    for one, start in zip(seen, starts, strict=True):
        told, wrong = one.taken_back(_text)
        sure, unsure = one.taken_back(lambda view: view.confirmed)
        counts = {"shown": told, "shown_wrong": wrong, "confirmed": sure, "confirmed_wrong": unsure}
        reference = words(one.clip.text or "")
        rows.append(
            {
                "file": one.clip.file.name,
                "voice_s": round(one.clip.voice[1] - one.clip.voice[0], 2),
                "utterances": sum(isinstance(event, Words) for _, event in one.shown),
                "first_s": one.first_s(start),
                "final_s": one.final_s(start),
                "reply_s": one.reply_s(start),
                **counts,
                "words": len(reference),
                "errors": edits(reference, words(one.text)) if reference else 0,
                "errors_whole": edits(reference, words(whole[one.clip.file])) if reference else 0,
                "text": one.text,
            }
        )
    return {"clips": rows, **_summary(rows)}


def _summary(rows: Sequence[JsonObject]) -> JsonObject:
    def total(key: str) -> int:
        return sum(int(row[key]) for row in rows)

    def spread(key: str, most: float) -> JsonObject:
        found = sorted(float(row[key]) for row in rows if row[key] is not None)
        if not found:
            return {"median": None, "p90": None, "max": None, "met": 0.0}
        p90 = found[min(len(found) - 1, int(0.9 * len(found)))]
        met = sum(one <= most for one in found) / len(found)
        return {"median": statistics.median(found), "p90": p90, "max": found[-1], "met": met}

    return {
        "final_s": spread("final_s", FINAL_S),
        "first_s": spread("first_s", FIRST_S),
        "reply_s": spread("reply_s", 60.0),
        "shown_wrong": total("shown_wrong") / max(1, total("shown")),
        "confirmed_wrong": total("confirmed_wrong") / max(1, total("confirmed")),
        "wer": total("errors") / max(1, total("words")),
        "wer_whole": total("errors_whole") / max(1, total("words")),
        "unheard": sum(not row["utterances"] for row in rows),
    }


def tables(found: JsonObject) -> list[Table]:
    """Return the figures beside their targets."""
    final, first, reply = found["final_s"], found["first_s"], found["reply_s"]
    rows = [
        ("final words after the voice ends, s, median", f"≤ {FINAL_S}", _number(final["median"])),
        ("— 90th percentile, longest", "–", f"{_number(final['p90'])}, {_number(final['max'])}"),
        ("first words after the voice begins, s, median", f"≤ {FIRST_S}", _number(first["median"])),
        ("— 90th percentile, longest", "–", f"{_number(first['p90'])}, {_number(first['max'])}"),
        ("a recording's words as a job by itself, s, median", "–", _number(found["alone_s"])),
        ("reply after the voice ends, s, median", "–", _number(reply["median"])),
        ("shown words that are not final, %", f"≤ {100 * WRONG:.0f}", f"{100 * found['shown_wrong']:.1f}"),
        ("— of those shown as certain, %", "–", f"{100 * found['confirmed_wrong']:.1f}"),
        ("WER %, by ear and of the whole files", "–", f"{100 * found['wer']:.1f}, {100 * found['wer_whole']:.1f}"),
    ]
    title = f"golem listen: {len(found['clips'])} recordings replayed at real speed"
    return [Table(title, ("figure", "target", "measured"), [tuple(row) for row in rows])]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _text(view: Partial) -> str:
    return f"{view.confirmed} {view.rest}".strip()
