"""Variants of a checkpoint's weights: further files in its folder, in a form that runs, which loads map as they are.

`model.8bit.safetensors` and `model.4bit.safetensors` have packed weights, `model.bfloat16.safetensors` and
`model.float16.safetensors` those of another dtype. Each has a record beside it (`model.8bit.json`), so that golem.json
stays what the pull wrote: boxes that share a store make variants without asking each other, and a release without them
does not see them. A variant without a sound record is not there. A pull that replaces the folder takes its variants
along.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store.manifest import Checkpoint, StoredFile, sha256_of

logger = logging.getLogger(__name__)

_FORMAT = 1
_STEM = "model"
#: What a variant can be called: the bits of its packed weights, or its dtype.
NAMES = ("8bit", "4bit", "bfloat16", "float16")


@dataclass(frozen=True)
class Variant:
    """A variant in a folder."""

    name: str
    path: Path
    file: StoredFile


def name_of(precision: Precision) -> str | None:
    """The variant in which this form would lie; None if that is the float32 file, which is no variant. Pure."""
    if precision.bits:
        return f"{precision.bits}bit"
    return precision.dtype if precision.dtype in NAMES else None


def weights_hash(checkpoint: Checkpoint) -> str:
    """What identifies the weights that variants are made of."""
    return "+".join(checkpoint.files[path.name].sha256 for path in checkpoint.weight_files)


def file_of(folder: Path, name: str) -> Path:
    """The file of a variant."""
    return folder / f"{_STEM}.{name}.safetensors"


def record_of(folder: Path, name: str) -> Path:
    """The record of a variant."""
    return folder / f"{_STEM}.{name}.json"


def write_record(path: Path, checkpoint: Checkpoint, file: StoredFile) -> None:
    """Write a variant's record."""
    record = {"format": _FORMAT, "of": weights_hash(checkpoint), **vars(file)}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def held(checkpoint: Checkpoint) -> dict[str, Variant]:
    """The variants of these weights by name, with their sizes checked."""
    found = {name: _read(checkpoint, name) for name in NAMES}
    return {name: variant for name, variant in found.items() if variant}


def _read(checkpoint: Checkpoint, name: str) -> Variant | None:
    try:
        record = json.loads(record_of(checkpoint.folder, name).read_text(encoding="utf-8"))
        file = StoredFile(str(record["sha256"]), int(record["bytes"]), int(record["mtime_ns"]))
        known = record["format"] == _FORMAT and record["of"] == weights_hash(checkpoint)
        path = file_of(checkpoint.folder, name)
        return Variant(name, path, file) if known and path.stat().st_size == file.bytes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find(checkpoint: Checkpoint, precision: Precision) -> Path | None:
    """The file of the variant in which this form lies, unaltered; None if there is none."""
    name = name_of(precision)
    variant = _read(checkpoint, name) if name else None
    if variant is None:
        return None
    try:
        check(variant)
    except ModelCorrupt as exc:
        logger.warning("%s Until then its weights are converted at each load.", exc.message)
        return None
    return variant.path


def check(variant: Variant, *, whole: bool = False, report: Callable[[int], None] = lambda _: None) -> None:
    """Check the SHA-256 of a variant that was modified since it was made, once for each state, or in any case
    (`whole`). Raises ModelCorrupt."""
    remedy = (
        f"delete it, or run `golem models pull --bits {variant.name[0]}`" if variant.name[1:] == "bit" else "delete it"
    )
    try:
        state = variant.path.stat()
        key = (str(variant.path), state.st_ino, state.st_size, state.st_mtime_ns, variant.file.sha256)
        if not whole and (state.st_mtime_ns == variant.file.mtime_ns or key in _seen):
            return
        sound = sha256_of(variant.path, report) == variant.file.sha256
    except OSError as exc:
        raise ModelCorrupt(f"{variant.path} cannot be read ({exc.strerror}): {remedy}.") from None
    if not sound:
        raise ModelCorrupt(f"{variant.path} was altered since it was made: {remedy}.")
    _seen.add(key)


_seen: set[tuple[str, int, int, int, str]] = set()  # states of files that this process has verified


def discard(checkpoint: Checkpoint, name: str) -> None:
    """Remove a variant, its record first. Does nothing if that is not allowed."""
    for path in (record_of(checkpoint.folder, name), file_of(checkpoint.folder, name)):
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            logger.debug("%s cannot be removed: %r", path, exc)
