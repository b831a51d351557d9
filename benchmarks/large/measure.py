"""`golem bench large`: chains of larger models take turns in the budget of a small card, with random weights.

For each set of three models and each precision: one model at a time, for its own load, peak and time; then as many as
fit (`GOLEM_RESIDENT=auto`) in each budget, scribe, interpreter, oracle and scribe again. Every use goes through the
worker's own residency. On a CPU the budget bounds what the worker decides, and the peak is read from the kernel.
"""

import gc
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from golem_chain.benchmarks.clock import hardware
from golem_chain.benchmarks.large import shapes
from golem_chain.benchmarks.large.fits import GIB, Need, planned
from golem_chain.benchmarks.large.shapes import TOKENS, Shape
from golem_chain.benchmarks.report import Say
from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import Intent, Label, LabelSet, OracleParams, Reply
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.child.factory import build_residency
from golem_chain.workers.residency.events import Event
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.runner import serve
from golem_chain.workers.store.sources.disk import check_room
from golem_chain.workers.store.sources.pull import pull

STAGES = ("scribe", "interpreter", "oracle")
BUDGETS_GIB = (4, 2)
BITS = ("off", "8", "4")
PRECISIONS = {"off": "bfloat16", "8": "8 bit", "4": "4 bit"}
CLIP = Path(__file__).resolve().parents[2] / "samples" / "lights-on.flac"
_TEXT = "please turn on the lights in the kitchen and play some quiet music while I cook"
_SPARE_BYTES = 1 << 30  # of the machine's memory, for the rest of the process and for others


@dataclass(frozen=True)
class Use:
    """One use of a stage: a batch of 1."""

    stage: str
    model: str
    precision: str
    load_s: float = 0.0  # with unloads; 0: it was resident
    run_s: float = 0.0
    peak_bytes: int = 0  # above a process with nothing loaded
    new_tokens: int | None = None  # of the Oracle
    refused: str = ""  # the error's sentence


@dataclass
class Turns:
    """Uses in one budget, in their order."""

    chain: str
    precision: str
    mode: str  # GOLEM_RESIDENT
    budget_bytes: int
    uses: list[Use] = field(default_factory=list)
    events: list[str] = field(default_factory=list)  # `load scribe`, `unload scribe`
    resident: tuple[str, ...] = ()  # after the last use

    @property
    def switches(self) -> int:
        """How often a model had to go for another one."""
        return sum(event.startswith("unload") for event in self.events)

    @property
    def loads(self) -> int:
        """How often a model was loaded."""
        return sum(event.startswith("load") for event in self.events)


@dataclass
class Findings:
    """All measurements."""

    hardware: str
    needs: list[Need] = field(default_factory=list)
    turns: list[Turns] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was left out, and why


def measure(settings: Settings, folder: Path | None, bits: Sequence[str], say: Say) -> Findings:
    """Write the shapes into a temporary folder (in `folder`), measure, and delete them. Raises GolemError, of which
    BadSetting if the disk has no room."""
    found = Findings(hardware())
    tokenizers = settings.model_copy(update={"scribe_model": "whisper-base"})
    pull(tokenizers)
    with tempfile.TemporaryDirectory(prefix="golem-large-", dir=folder) as work:
        base = settings.model_copy(update={"store": Path(work) / "store", "dtype": "bfloat16", "guards": ("level",)})
        check_room(Path(work), shapes.disk_bytes(shapes.ALL))
        made: dict[str, Path] = {}
        for shape in shapes.ALL:
            say(f"writing {shape.name}, {format_bytes(2 * shape.weights)}")
            made[shape.name] = shapes.write(shape, Path(work) / "shapes", tokenizers)
        for name, chain in shapes.SETS.items():
            models = {f"{shape.stage}_model": str(made[shape.name]) for shape in chain}
            _chain(found, name, chain, base.model_copy(update=models), bits, say)
    return found


def _chain(
    found: Findings, name: str, chain: tuple[Shape, ...], settings: Settings, bits: Sequence[str], say: Say
) -> None:
    """Measure one set in all precisions and budgets."""
    unpacked: dict[str, int] = {}
    for packed in bits:
        chosen = settings.model_copy(update={"bits": packed, "prove": "off"})
        pull(chosen)
        probe = build_residency(chosen)
        sizes = {stage: probe.engines[stage].weights_bytes for stage in STAGES}
        if packed == "off":
            unpacked = sizes
        elif sizes == unpacked:
            found.notes.append(f"{PRECISIONS[packed]}: the {name} set is not packed by this version")
            continue
        for shape in chain:
            need = _need(probe, shape, PRECISIONS[packed], chosen.batch_of(shape.stage))
            if need not in found.needs:
                found.needs.append(need)
        _settle(probe)
        most = max(need.least_bytes for need in found.needs if need.precision == PRECISIONS[packed])
        if psutil.virtual_memory().available < most + _SPARE_BYTES:
            found.notes.append(f"{name} set, {PRECISIONS[packed]}: not loaded, this machine has too little free memory")
            continue
        plans = [("1", max(BUDGETS_GIB), STAGES), *(("auto", gib, (*STAGES, STAGES[0])) for gib in BUDGETS_GIB)]
        for mode, gib, order in plans:
            what = f"{name} set, {PRECISIONS[packed]}, {gib} GiB, GOLEM_RESIDENT={mode}"
            say(what)
            try:
                found.turns.append(_turns(name, PRECISIONS[packed], chosen, mode, gib, order, say))
            except Exception as exc:  # noqa: BLE001 - the other sets are still worth their time
                say(f"{what}: failed ({type(exc).__name__}: {exc})")
                found.notes.append(f"{what}: failed ({type(exc).__name__})")


def _need(residency: Residency, shape: Shape, precision: str, most: int) -> Need:
    engine = residency.engines[shape.stage]
    return Need(shape.stage, shape.name, precision, engine.weights_bytes, planned(engine.working_bytes, most))


def _turns(name: str, precision: str, settings: Settings, mode: str, gib: int, order: Sequence[str], say: Say) -> Turns:
    turns = Turns(name, precision, mode, gib * GIB)

    def note(event: Event) -> None:
        turns.events.append(f"{event.kind} {event.stage}")

    residency = build_residency(settings.model_copy(update={"resident": mode, "memory_budget": gib * GIB}), note)
    residency.memory.give_back()
    base = residency.memory.read().allocated
    for stage in order:
        use = _use(residency, stage, precision, base)
        turns.uses.append(use)
        say(f"  {stage}: " + (use.refused or f"{use.load_s:.2f} s to load, {use.run_s:.2f} s to run"))
    turns.resident = residency.resident
    told = list(turns.events)
    _settle(residency)
    turns.events = told  # what was unloaded at the end made room for nothing
    return turns


def _use(residency: Residency, stage: str, precision: str, base_bytes: int) -> Use:
    """Serve one request. Raises what is no refusal."""
    served = serve(residency, stage, [_request(stage)])
    model = residency.model(stage).split("@")[0].rsplit("/", 1)[-1]
    answer = served.answers[0]
    if isinstance(answer, GolemError):
        return Use(stage, model, precision, refused=answer.message)
    tokens = answer.new_tokens if isinstance(answer, Reply) else None
    return Use(
        stage, model, precision, served.load_s, served.compute_s, max(0, served.peak_bytes - base_bytes), tokens
    )  # fmt: skip


def _request(stage: str) -> Any:
    from golem_chain.workers.stages.interpreter.engine import Utterance
    from golem_chain.workers.stages.oracle.engine import ReplyRequest
    from golem_chain.workers.stages.scribe.engine import Recording

    if stage == "scribe":
        return Recording(CLIP.name, CLIP.read_bytes(), "en")
    labels = LabelSet(labels=tuple(Label(name=f"topic number {n}") for n in range(10)))
    if stage == "interpreter":
        return Utterance(_TEXT, "en", labels)
    intent = Intent(label=labels.labels[0].name, score=1.0, scores={labels.labels[0].name: 1.0}, method="entailment")
    return ReplyRequest(_TEXT, intent, labels, OracleParams(max_new_tokens=TOKENS), seed=7)


def _settle(residency: Residency) -> None:
    """Give everything back, so that the next measurement begins with nothing."""
    residency.unload_all("stop")
    residency.engines.clear()
    gc.collect()
    residency.memory.give_back()


def alone(found: Findings) -> Iterator[Use]:
    """Each model's use as the only one in memory, once."""
    seen = set()
    for turns in found.turns:
        for use in turns.uses if turns.mode == "1" else ():
            if (use.model, use.precision) not in seen and not use.refused:
                seen.add((use.model, use.precision))
                yield use
