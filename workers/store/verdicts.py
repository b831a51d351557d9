"""Verdicts beside a model: which forms of it were shown to answer like float32 on which device. Read without torch.

A verdict lies in `<store>/<stage>/<name>/proofs/<key>.json`, one file for each device and torch version, so that boxes
with other processors can share a store.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from golem_chain.shared.json_object import JsonObject
from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.cpu import computing, processor_name, read_flags
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store.manifest import Checkpoint

logger = logging.getLogger(__name__)

FOLDER = "proofs"
#: Of the records below and of the criteria that they are judged by.
FORMAT = 1
#: Why a form was not compared: the proof had ended.
NOT_ASKED = "a faster form has passed"
#: Longer files are not ours, bytes.
_LONGEST = 1 << 20


@dataclass(frozen=True)
class Binding:
    """What a verdict holds for. When any of it changes, the verdict is void."""

    weights: str  # the checkpoint's fingerprint and the dtype on disk
    device: str  # a processor's architecture and instructions, or a card's model and compute capability
    torch: str
    golem: str

    @property
    def key(self) -> str:
        """The name of the file for this device and torch version."""
        return hashlib.sha256(f"{self.device}\n{self.torch}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Tried:
    """A form that was compared with float32."""

    form: str  # Precision.name
    passed: bool  # it answers alike, and is faster
    speed: float | None = None  # batches of the stage per unit of time, float32's taken as 1; None: not measured
    figures: Mapping[str, float] = field(default_factory=dict)  # by criterion
    why: str = ""  # it has not passed; a clause


@dataclass(frozen=True)
class Verdict:
    """What a proof has found. The reference, float32, has passed unless its row says that it is above the budget."""

    binding: Binding
    items: int  # compared, the user's own included
    own_items: int
    tried: tuple[Tried, ...]
    device_name: str
    seconds: float
    at: str  # UTC, ISO 8601

    def fastest(self, bits: int | None = None) -> Precision | None:
        """The fastest form with weights of so many bits that has passed; None if none has. Without packing float32 is
        the least that is left."""
        passed = [(one.speed or 1.0, Precision.parse(one.form)) for one in self.tried if one.passed]
        reference = Precision("float32")
        passed += [(1.0, reference)] if self.of(reference) is None else []
        fitting = [entry for entry in passed if entry[1].bits == bits]
        return max(fitting, key=lambda entry: entry[0])[1] if fitting else None

    def of(self, form: Precision) -> Tried | None:
        """What was found of a form; None if it was not tried."""
        return next((one for one in self.tried if one.form == form.name), None)


#: Verdicts of this process that could not be written, by path: they hold while it lives.
_unwritten: dict[Path, Verdict] = {}


def binding_of(checkpoint: Checkpoint, card: Card | None) -> Binding:
    """What a verdict on this checkpoint would be bound to here. `card`: None for a CPU."""
    if card is None:
        device = computing(read_flags(), os.environ)
    else:
        device = f"{card.name}, compute capability {'.'.join(map(str, card.capability))}"
    return Binding(f"{checkpoint.fingerprint} {checkpoint.dtype}", device, _version("torch"), _version("golem-chain"))


def device_name(card: Card | None) -> str:
    """The device as people call it."""
    return card.name if card else processor_name()


def find(checkpoint: Checkpoint, binding: Binding) -> Verdict | None:
    """The verdict that holds; None if there is none, or if it is void or damaged: it is then made anew."""
    path = _path(checkpoint, binding)
    verdict = _unwritten.get(path) or _read(path)
    return verdict if verdict and verdict.binding == binding else None


def write(checkpoint: Checkpoint, verdict: Verdict) -> bool:
    """Put a verdict beside its model, in place of an earlier one for this device. Returns False if the store cannot be
    written: this process then remembers it."""
    path = _path(checkpoint, verdict.binding)
    part = path.with_name(f".{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
    _unwritten.pop(path, None)
    try:
        path.parent.mkdir(exist_ok=True)
        part.write_text(json.dumps({"format": FORMAT, **asdict(verdict)}, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as exc:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        _unwritten[path] = verdict
        logger.warning("The verdict on the %s could not be written to %s: %s", checkpoint.stage, path, exc.strerror)
        return False
    return True


def _path(checkpoint: Checkpoint, binding: Binding) -> Path:
    return checkpoint.folder / FOLDER / f"{binding.key}.json"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _read(path: Path) -> Verdict | None:
    """The verdict in a file, None if it is not one. The store may be another user's: every field is checked."""
    try:
        if path.stat().st_size > _LONGEST:
            return None
        record: JsonObject = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            return None
        tried = tuple(_tried(one) for one in record.pop("tried"))
        binding = Binding(**{key: str(value) for key, value in record.pop("binding").items()})
        numbers = int(record.pop("items")), int(record.pop("own_items")), float(record.pop("seconds"))
        name, at = str(record.pop("device_name")), str(record.pop("at"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Verdict(binding, numbers[0], numbers[1], tried, name, numbers[2], at)


def _tried(record: JsonObject) -> Tried:
    form, speed = Precision.parse(str(record["form"])), record["speed"]
    figures = {str(key): float(value) for key, value in record["figures"].items()}
    passed = record["passed"] is True
    return Tried(form.name, passed, None if speed is None else float(speed), figures, str(record["why"]))
