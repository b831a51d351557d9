"""Recordings through the Scribe, in batches, with the time they take."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import Transcript, Vocabulary
from golem_chain.workers.evaluation.corpus import Clip
from golem_chain.workers.evaluation.report import say
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.scribe.engine import Recording, Scribe


@dataclass(frozen=True)
class Heard:
    """What came of a clip; one that could not be heard has an empty transcript."""

    clip: Clip
    transcript: Transcript
    failed: bool = False

    @property
    def wordless(self) -> bool:
        """Whether no words came of it."""
        return not self.transcript.text.strip()


@dataclass
class Hearing:
    """All clips, and the wall seconds that they took together."""

    heard: list[Heard]
    seconds: float

    @property
    def clip_s(self) -> float:
        """Wall seconds of one clip, in batches."""
        return self.seconds / max(len(self.heard), 1)

    @property
    def failed(self) -> int:
        """Clips that could not be heard."""
        return sum(one.failed for one in self.heard)


def hear(scribe: Scribe, clips: Sequence[Clip], what: str, vocabulary: Vocabulary | None = None) -> Hearing:
    """All clips in order. One that cannot be heard is named on stderr and counts as a clip without words."""
    started = time.perf_counter()
    heard: list[Heard] = []
    size = scribe.settings.batch_of("scribe")
    with progress(what, len(clips)) as step:
        for start in range(0, len(clips), size):
            batch = clips[start : start + size]
            heard += hear_batch(scribe, batch, vocabulary)
            step(len(batch))
    return Hearing(heard, time.perf_counter() - started)


def hear_batch(scribe: Scribe, batch: Sequence[Clip], vocabulary: Vocabulary | None = None) -> list[Heard]:
    """One batch of them."""
    return [_heard(clip, answer) for clip, answer in zip(batch, _answers(scribe, batch, vocabulary), strict=True)]


@contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """A bar on stderr where that is a terminal; gives the function that moves it on."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _answers(scribe: Scribe, batch: Sequence[Clip], vocabulary: Vocabulary | None) -> list[object]:
    """A Transcript or a GolemError for each clip, as a worker would give."""
    prepared: list[object] = []
    for clip in batch:
        try:
            recording = Recording(str(clip.path), clip.path.read_bytes(), vocabulary=vocabulary)
            prepared.append(scribe.prepare(recording))
        except GolemError as exc:
            prepared.append(exc)
        except OSError as exc:
            prepared.append(GolemError(f"{clip.path} cannot be read: {exc.strerror}."))
    ran = iter(scribe.run([entry.item for entry in prepared if isinstance(entry, Ready)]))
    return [next(ran) if isinstance(entry, Ready) else entry for entry in prepared]


def _heard(clip: Clip, answer: object) -> Heard:
    if isinstance(answer, Transcript):
        return Heard(clip, answer)
    say(answer.message if isinstance(answer, GolemError) else f"{clip.path} gave no transcript.")
    return Heard(clip, Transcript(), failed=True)
