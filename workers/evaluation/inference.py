"""Runs the engines for an evaluation, without a worker: opens them, runs batches, measures time."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from golem_chain.shared.errors import BadRequest, GolemError
from golem_chain.shared.labels import phrasings
from golem_chain.shared.records import Intent, Label, LabelSet, Transcript, Vocabulary
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.selection import card_of, pick_device
from golem_chain.workers.devices.threads import set_threads
from golem_chain.workers.evaluation.datasets import Clip, Said
from golem_chain.workers.evaluation.report import say
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.interpreter import engine as interpreter
from golem_chain.workers.stages.interpreter.engine import Interpreter, LabelEvidence, Utterance
from golem_chain.workers.stages.scribe import engine as scribe
from golem_chain.workers.stages.scribe.engine import Recording, Scribe
from golem_chain.workers.store import find
from golem_chain.workers.store.chosen import form_of
from golem_chain.workers.store.opened import weights_of

# -- the engines


def open_scribe(settings: Settings) -> scribe.Scribe:
    """Return the configured Scribe with its weights loaded. Raises ModelMissing, ModelCorrupt, DeviceRefused."""
    set_threads(settings.threads)
    device, checkpoint = pick_device(settings), find(settings, "scribe")
    form = form_of(settings, checkpoint, card_of(device))
    made = scribe.Scribe(weights_of(checkpoint, scribe.make, device, form), settings)
    made.load()
    return made


def open_interpreter(settings: Settings) -> interpreter.Interpreter:
    """Return the configured Interpreter with its weights loaded. Raises ModelMissing, ModelCorrupt, DeviceRefused."""
    set_threads(settings.threads)
    device, checkpoint = pick_device(settings), find(settings, "interpreter")
    form = form_of(settings, checkpoint, card_of(device))
    made = interpreter.Interpreter(weights_of(checkpoint, interpreter.make, device, form), settings)
    made.load()
    return made


def run_on(engine: scribe.Scribe | interpreter.Interpreter) -> dict[str, str]:
    """Return model, versions and hardware as text."""
    weights = engine.weights
    return {
        "model": f"{weights.checkpoint.id} ({weights.checkpoint.revision[:12]}) in {weights.precision.name}",
        "versions": f"golem-chain {version('golem-chain')}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, Python {platform.python_version()}",
        "hardware": _hardware(weights.device),
    }


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"


# -- recordings through the Scribe

#: Reads a clip as the bytes of an audio file.
Reader = Callable[[Clip], bytes]


def from_file(clip: Clip) -> bytes:
    """Read a clip as it is. Raises OSError."""
    return clip.path.read_bytes()


@dataclass(frozen=True)
class Heard:
    """The transcript of a clip; empty if transcription failed."""

    clip: Clip
    transcript: Transcript
    failed: bool = False

    @property
    def wordless(self) -> bool:
        """Whether the transcript is empty."""
        return not self.transcript.text.strip()


@dataclass
class Hearing:
    """The transcripts of all clips, and the total wall time in seconds."""

    heard: list[Heard]
    seconds: float

    @property
    def clip_s(self) -> float:
        """Mean wall time per clip when run in batches, seconds."""
        return self.seconds / max(len(self.heard), 1)

    @property
    def failed(self) -> int:
        """Number of clips whose transcription failed."""
        return sum(one.failed for one in self.heard)


def hear(
    scribe: Scribe,
    clips: Sequence[Clip],
    what: str,
    vocabulary: Vocabulary | None = None,
    hotwords: Sequence[str] = (),
    read: Reader = from_file,
) -> Hearing:
    """Transcribe all clips in order. A failed clip is reported on stderr and gets an empty transcript."""
    started = time.perf_counter()
    heard: list[Heard] = []
    size = scribe.settings.batch_of("scribe")
    with progress(what, len(clips)) as step:
        for start in range(0, len(clips), size):
            batch = clips[start : start + size]
            heard += hear_batch(scribe, batch, vocabulary, hotwords, read)
            step(len(batch))
    return Hearing(heard, time.perf_counter() - started)


def hear_batch(
    scribe: Scribe,
    batch: Sequence[Clip],
    vocabulary: Vocabulary | None = None,
    hotwords: Sequence[str] = (),
    read: Reader = from_file,
) -> list[Heard]:
    """Transcribe one batch of clips."""
    answers = _transcripts(scribe, batch, vocabulary, hotwords, read)
    return [_heard(clip, answer) for clip, answer in zip(batch, answers, strict=True)]


@contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """Show a progress bar if stderr is a terminal; yields the function that advances it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _transcripts(
    scribe: Scribe, batch: Sequence[Clip], vocabulary: Vocabulary | None, hotwords: Sequence[str], read: Reader
) -> list[object]:
    """Return a Transcript or a GolemError for each clip, as a worker would."""
    prepared: list[object] = []
    for clip in batch:
        try:
            recording = Recording(str(clip.path), read(clip), vocabulary=vocabulary, hotwords=tuple(hotwords))
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


# -- utterances through the Interpreter


OUT_OF_SCOPE = "oos"


@dataclass(frozen=True)
class Asked:
    """A set of utterances with the intents and the evidence behind them."""

    name: str
    said: Sequence[Said]
    labels: LabelSet
    intents: Sequence[Intent]
    evidence: Sequence[LabelEvidence]

    def inside(self) -> list[tuple[int, Intent, LabelEvidence]]:
        """Return the utterances in scope: index of the correct label, intent, evidence."""
        numbers = {label.name: number for number, label in enumerate(self.labels.labels)}
        triples = zip(self.said, self.intents, self.evidence, strict=True)
        return [(numbers[one.intent], intent, seen) for one, intent, seen in triples if one.intent != OUT_OF_SCOPE]

    def outside(self) -> list[tuple[Intent, LabelEvidence]]:
        """Return the utterances out of scope: intent, evidence."""
        triples = zip(self.said, self.intents, self.evidence, strict=True)
        return [(intent, seen) for one, intent, seen in triples if one.intent == OUT_OF_SCOPE]


def bare(said: Sequence[Said]) -> LabelSet:
    """Return a label set of the intents' names, in order of appearance. Raises BadRequest if none is in scope."""
    names = dict.fromkeys(one.intent for one in said if one.intent != OUT_OF_SCOPE)
    if not names:
        raise BadRequest("All utterances are out of scope (oos): there is no intent to be told.")
    return LabelSet(labels=tuple(Label(name=name) for name in names))


def ask(interpreter: Interpreter, name: str, said: Sequence[Said], labels: LabelSet) -> Asked:
    """Classify a set of utterances. Raises BadRequest for an intent without a label, GolemError if the engine fails."""
    known = {label.name for label in labels.labels} | {OUT_OF_SCOPE}
    if lacking := sorted({one.intent for one in said} - known):
        raise BadRequest(
            f"{name} has the intent {lacking[0]}, which the labels lack: they are {', '.join(sorted(known)[:12])}."
        )
    intents: list[Intent] = []
    evidence: list[LabelEvidence] = []
    asks = [Utterance(one.text, one.language or "en", labels.model_copy(update={"multi_label": False})) for one in said]
    size = interpreter.settings.batch_of("interpreter") * 4
    with progress(name, len(asks)) as step:
        for start in range(0, len(asks), size):
            batch = asks[start : start + size]
            intents += _intents(interpreter, batch)
            evidence += interpreter.evidence(batch)
            step(len(batch))
    return Asked(name, said, labels, intents, evidence)


def in_force(labels: LabelSet, interpreter: Interpreter) -> tuple[float, float]:
    """Return the temperature and the threshold of `unknown` that apply to a set."""
    settings, cosines = interpreter.settings, interpreter.method == "cosine"
    fitted = labels.cosine if cosines else labels.entailment
    temperature = fitted.temperature or (settings.temperature if cosines else 1.0)
    threshold = settings.unknown_cosine if cosines else settings.unknown_score
    return temperature, threshold if fitted.unknown is None else fitted.unknown


def templated(labels: LabelSet, template: str, method: str) -> LabelSet:
    """Return the label set with another template."""
    if method == "entailment":
        return labels.model_copy(update={"template": template})
    if template == "{}":
        return labels  # names stay names, which are not compared like phrasings
    said = [
        label.model_copy(update={"phrasings": tuple(template.replace("{}", phrase) for phrase in phrasings(label))})
        for label in labels.labels
    ]
    return labels.model_copy(update={"labels": tuple(said)})


def best(seen: LabelEvidence) -> int:
    """Return the index of the label with the highest score."""
    return seen.scores.index(max(seen.scores))


def _intents(interpreter: Interpreter, batch: Sequence[Utterance]) -> list[Intent]:
    prepared = [interpreter.prepare(one) for one in batch]
    ran = iter(interpreter.run([one.item for one in prepared if isinstance(one, Ready)]))
    found = [next(ran) if isinstance(one, Ready) else one for one in prepared]
    for one in found:
        if isinstance(one, GolemError):
            raise one
    return [one for one in found if isinstance(one, Intent)]
