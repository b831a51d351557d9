"""Makes a variant of a checkpoint in the store: packed, or in another dtype, whole or not at all."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from golem_chain.shared.errors import GolemError, ModelCorrupt, ModelMissing
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store import manifest, variants
from golem_chain.workers.store.formats.safetensors_files import MappedFile, Planned, read_header, write_tensors
from golem_chain.workers.store.load import Weights, read_config
from golem_chain.workers.store.manifest import Checkpoint
from golem_chain.workers.store.packed.blocks import Packed, bits_of
from golem_chain.workers.store.packed.files import described, gather, planned
from golem_chain.workers.store.sources.disk import check_room, locked, put_files, sweep, temporary, writable
from golem_chain.workers.store.sources.progress import Show

logger = logging.getLogger(__name__)

_QUIET = Show(quiet=True)


class _Interrupted(Exception):
    pass


def keep_ready(checkpoint: Checkpoint, precision: Precision, go_on: Callable[[], bool] = lambda: True) -> bool:
    """Make the variant of a form that is to run, if it can be made: without it each load converts. Returns False if
    `go_on`, asked after each tensor, has said no: nothing is left of it then, and it may be tried again."""
    try:
        make_variant(checkpoint, precision, go_on=go_on)
    except _Interrupted:
        return False
    except (GolemError, OSError) as exc:
        why = exc.message if isinstance(exc, GolemError) else str(exc)
        logger.info("Each load of the %s converts its weights to %s: %s", checkpoint.stage, precision.name, why)
    return True


def make_variant(
    checkpoint: Checkpoint, precision: Precision, show: Show = _QUIET, go_on: Callable[[], bool] = lambda: True
) -> Path | None:
    """Make the variant in which this form lies, so that loads need not convert, and return its file. One that is there
    is kept. None if the store's own file is that form already, or if the checkpoint was pulled again meanwhile.

    Waits for a pull that is running. Raises BadSetting (the store cannot be written, or its disk is full),
    ModelCorrupt (damaged weights, or values that overflow the dtype).
    """
    name = variants.name_of(precision)
    if name is None or is_native(checkpoint, precision):
        return None
    there = variants.find(checkpoint, precision)
    if there:
        return there
    store = checkpoint.folder.parent.parent
    with writable(store), locked(store, show):
        sweep(store)
        if not _same(checkpoint):
            return None
        manifest.verify_if_touched(checkpoint)
        mapped = [MappedFile(path) for path in checkpoint.weight_files]
        tensors = gather({key: tensor for file in mapped for key, tensor in file.tensors.items()}, checkpoint.id)
        plan, dtype = _plan(checkpoint, precision, tensors)
        check_room(store, sum(part.nbytes(dtype) for part in plan))

        def written(size_bytes: int) -> None:
            del size_bytes
            for file in mapped:
                file.release_all()  # what was written would be in memory until all is
            if not go_on():
                raise _Interrupted

        with temporary(store) as work, show.step(f"{checkpoint.stage}: making {checkpoint.id} in {name}"):
            path = variants.file_of(work, name)
            sha256 = write_tensors(path, plan, dtype, written)
            variants.write_record(variants.record_of(work, name), checkpoint, manifest.record_file(path, sha256))
            # Neither a record without its file, nor one beside another file, is a variant: the order does not matter.
            put_files(work, checkpoint.folder)
    return variants.find(checkpoint, precision)


def is_native(checkpoint: Checkpoint, precision: Precision) -> bool:
    """Whether the store's own file is the form already. Raises ModelCorrupt."""
    kept = packed_bits(checkpoint)
    return kept == precision.bits if precision.bits else kept is None and checkpoint.dtype == precision.dtype


def packed_bits(checkpoint: Checkpoint) -> int | None:
    """The bits of the store's own file if its matrices are packed there, as GGUF's can be; None if they are not.
    Raises ModelCorrupt."""
    entries = {name: entry for path in checkpoint.weight_files for name, entry in read_header(path).items()}
    kinds = [kind for kind, _ in described({name: entry.shape for name, entry in entries.items()}).values() if kind]
    return max((bits_of(kind) for kind in kinds), default=None)


def _same(checkpoint: Checkpoint) -> bool:
    try:
        return manifest.hashes(manifest.read(checkpoint.folder)) == manifest.hashes(checkpoint)
    except (ModelMissing, ModelCorrupt):
        return False


def _plan(
    checkpoint: Checkpoint, precision: Precision, tensors: dict[str, torch.Tensor | Packed]
) -> tuple[list[Planned], torch.dtype]:
    """What is written, and in which dtype what is not packed."""
    if not precision.bits:
        dtype: torch.dtype = getattr(torch, precision.dtype)
        return [_plain(name, tensor, dtype) for name, tensor in tensors.items()], dtype
    dtype = getattr(torch, checkpoint.dtype)
    weights = Weights(checkpoint, make_of(read_config(checkpoint.folder)), dtype=dtype, bits=precision.bits)
    skeleton = weights.build()
    _, packable = skeleton.match(tensors, str(checkpoint.folder))
    matrices: list[Planned] = []
    for place, (name, tensor) in zip(skeleton.places, packable, strict=True):
        module = place.modules[0]
        kind = skeleton.kind(tensor.kind if isinstance(tensor, Packed) else None, module.shape)
        matrices += planned(name, kind, module.shape, module.turned, partial(skeleton.pack, place, tensor))
    named = {name for name, _ in packable}
    plain = [_plain(name, tensor, dtype) for name, tensor in tensors.items() if name not in named]
    return [*plain, *matrices], dtype


def _plain(name: str, tensor: torch.Tensor | Packed, dtype: torch.dtype) -> Planned:
    if isinstance(tensor, Packed):
        return Planned(name, tensor.file_shape, dtype, partial(tensor.dense, dtype))
    return Planned.of(name, tensor)


def make_of(config: Any) -> Callable[[Any], nn.Module]:
    """What builds the modules that a config names. Raises ModelCorrupt."""
    import transformers

    names = getattr(config, "architectures", None) or ()
    made: Any = next((getattr(transformers, str(name), None) for name in names), None)
    return made or transformers.AutoModel.from_config  # type: ignore[no-any-return]  # transformers is untyped
