"""Loads a checkpoint from the store onto a device, and unloads it.

The modules are built once; each load maps the safetensors file and points them at its tensors. On a CPU the mapped
pages are the weights: nothing is copied if the dtype on disk is the dtype that runs. Pickles are never read.
"""

import json
import logging
import math
import mmap
import threading
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from golem_chain.shared.errors import ModelChanged, ModelCorrupt, ModelMissing
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.devices.products import quicken
from golem_chain.workers.store import variants
from golem_chain.workers.store.formats.safetensors_files import (
    FLOATS,
    ITEM_BYTES,
    MappedFile,
    map_tensors,
    read_header,
)
from golem_chain.workers.store.hostcache import HostCache, HostCopy
from golem_chain.workers.store.manifest import Checkpoint, check_sizes, hashes, read, verify_if_touched
from golem_chain.workers.store.packed.blocks import Packed
from golem_chain.workers.store.packed.files import described, gather, parts
from golem_chain.workers.store.skeleton import Skeleton

logger = logging.getLogger(__name__)


class Weights:
    """One checkpoint on one device, to be loaded and unloaded any number of times.

    `make(config)` builds the nn.Module, for instance `WhisperForConditionalGeneration`. All methods raise ModelCorrupt
    if the folder does not match its record, and `load` ModelChanged if that is because of another pull.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        make: Callable[[Any], nn.Module],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        host: HostCache | None = None,
        *,
        bits: int | None = None,
        product: torch.dtype | None = None,
    ) -> None:
        """`bits`: 8 or 4, packed weights; `product`: the dtype in which the Scribe's encoder multiplies, if it was
        chosen (None: the Scribe decides)."""
        self.bits, self.product = bits, product
        self.checkpoint = checkpoint
        self._host = host if torch.device(device).type == "cuda" else None
        self.device = torch.device(device)
        self.dtype = dtype
        self._make = make
        self._skeleton: Skeleton | None = None
        self._copying = threading.Lock()

    @property
    def folder(self) -> Path:
        """The folder with config and tokenizer."""
        return self.checkpoint.folder

    @property
    def precision(self) -> Precision:
        """The form in which this model runs."""
        product = None if self.product in (None, self.dtype) else _name(self.product)
        return Precision(_name(self.dtype), self.bits, product)

    @cached_property
    def config(self) -> Any:
        """The transformers configuration object."""
        return read_config(self.folder)

    @cached_property
    def nbytes(self) -> int:
        """Size of the weights on the device in bytes, from the file headers, without loading them; packed weights as
        they will be."""
        entries = {name: entry for path in self._files() for name, entry in read_header(path).items()}
        kinds = described({name: entry.shape for name, entry in entries.items()})
        if self.bits:
            return self.build().nbytes(kinds, self.dtype, self.device)
        return sum(
            math.prod(shape)
            * (self.dtype.itemsize if kind or entries[name].dtype in FLOATS else ITEM_BYTES[entries[name].dtype])
            for name, (kind, shape) in kinds.items()
        )

    def mark(self) -> Hashable:
        """What is another value as soon as the weights may be others: their form, the content recorded, and the state
        of the files. What was computed with the weights may outlive an unload while this stays equal. Never raises."""
        variant = variants.name_of(self.precision)
        files = [*self.checkpoint.weight_files, *([variants.file_of(self.folder, variant)] if variant else [])]
        own = sorted(hashes(self.checkpoint).items())
        return (self.precision.name, str(self.device), *own, *map(_state, files))

    def load(self) -> nn.Module:
        """Load the model onto the device, in eval mode. Every load returns the same object."""
        try:
            return self._load()
        except ModelCorrupt:
            if not self._pulled_again():
                raise
            raise ModelChanged(
                f"The {self.checkpoint.stage}'s model in {self.folder} was pulled again, with other content, while "
                "this worker was using it: the worker reads it anew, and the job can be tried again."
            ) from None

    def _pulled_again(self) -> bool:
        """Whether the folder now holds a whole checkpoint with other content. Config and tokenizer are then new too, so
        that engines must be made anew."""
        try:
            now = read(self.folder)
            check_sizes(now)
        except (ModelMissing, ModelCorrupt):
            return False
        return hashes(now) != hashes(self.checkpoint)

    def _load(self) -> nn.Module:
        verify_if_touched(self.checkpoint)
        variant = variants.find(self.checkpoint, self.precision)
        if variant is None:
            return self._load_from(self._own_files())
        try:
            return self._load_from([variant])
        except ModelCorrupt as exc:
            logger.warning("%s is not used: %s", variant, exc.message)
            variants.discard(self.checkpoint, str(variants.name_of(self.precision)))
            return self._load_from(self._own_files())

    def _load_from(self, files: list[Path]) -> nn.Module:
        skeleton = self.build()
        copy = self._host_copy(files) if self._host else None
        if copy:
            skeleton.fill(gather(copy.to(self.device), str(files[0])), self.device, self.dtype, str(files[0]))
        else:
            self._fill(skeleton, files)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return skeleton.model

    def prefetch(self) -> None:
        """Read the weights while another stage computes: into pinned host memory for a card, into the page cache for a
        CPU. Cheap if they are already there."""
        if self._host:
            self._host_copy(self._files())
            return
        for path in self._files():
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                if hasattr(mmap, "MADV_WILLNEED"):
                    mapped.madvise(mmap.MADV_WILLNEED)  # asynchronous: the kernel reads ahead

    def _fill(self, skeleton: Skeleton, files: list[Path]) -> None:
        """Fill the modules from mapped files. Pages of tensors that had to be converted are let go one by one, so that
        no more than one of them is in memory twice."""
        mapped = [MappedFile(path) for path in files]
        tensors = gather({name: tensor for file in mapped for name, tensor in file.tensors.items()}, str(files[0]))
        if self._taken_as_they_are(tensors):
            for file in mapped:
                file.populate()

        def copied(name: str) -> None:
            tensor = tensors.get(name)
            for part in parts(name, tensor) if isinstance(tensor, Packed) else (name,):
                for file in mapped:
                    file.release(part)

        skeleton.fill(tensors, self.device, self.dtype, str(files[0]), copied)

    def _taken_as_they_are(self, tensors: Mapping[str, torch.Tensor | Packed]) -> bool:
        """Whether a load copies little of the files: then mapping all pages at once is faster."""
        if self.bits:
            return any(isinstance(tensor, Packed) for tensor in tensors.values())
        return all(isinstance(t, torch.Tensor) and t.dtype in (self.dtype, torch.int64) for t in tensors.values())

    def _mapped(self, files: list[Path]) -> dict[str, torch.Tensor]:
        """The tensors as they are copied into host memory."""
        tensors: dict[str, torch.Tensor] = {}
        for path in files:
            tensors |= map_tensors(path)
        together = gather(tensors, str(files[0]))
        if self.bits:
            return self.build().packed(together, str(files[0]))
        return {name: t.dense(self.dtype) if isinstance(t, Packed) else t for name, t in together.items()}

    def _host_copy(self, files: list[Path]) -> HostCopy | None:
        """The pinned copy, made on first use; None if the cache has no room for it or memory cannot be pinned.

        A load that starts while a prefetch is making the copy waits for it.
        """
        assert self._host is not None
        key = f"{self.folder} {self.precision.name}"
        with self._copying:
            copy = self._host.get(key)
            if copy is None and self._host.make_room(self.nbytes):
                try:
                    copy = HostCopy.make(self._mapped(files), self.dtype, pin=self._pin)
                except RuntimeError:
                    return None  # memory cannot be pinned: copy from the mapped pages instead
                self._host.put(key, copy)
            return copy

    _pin = True  # False in tests without a card

    def unload(self) -> None:
        """Drop every reference to the weights; the empty modules stay. Does nothing if not loaded."""
        if self._skeleton is not None:
            self._skeleton.clear()

    def build(self) -> Skeleton:
        """The modules without weights, built on the first call."""
        if self._skeleton is None:
            try:
                skeleton = Skeleton(self._make, self.config, self.dtype, self.bits)
            except (AttributeError, TypeError, ValueError, KeyError, RuntimeError, ZeroDivisionError) as exc:
                raise ModelCorrupt(
                    f"{self.folder / 'config.json'} does not describe a supported model ({exc}): run "
                    "`golem models pull` again."
                ) from None
            _read_generation_config(skeleton.model, self.folder)
            if self.device.type == "cpu" and self.dtype == torch.float32:
                quicken(skeleton.model)
            self._skeleton = skeleton
        return self._skeleton

    def _files(self) -> list[Path]:
        """The files of weights to read: a variant in the form that runs, if the store has one."""
        variant = variants.find(self.checkpoint, self.precision)
        return [variant] if variant else self._own_files()

    def _own_files(self) -> list[Path]:
        files = self.checkpoint.weight_files
        missing = next((path for path in files if not path.is_file()), None)
        if missing or not files:
            raise ModelCorrupt(f"{missing or self.folder} is missing: run `golem models pull` again.")
        return files


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; None if it is not there."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")


def read_config(folder: Path) -> Any:
    """Read config.json as a transformers config; code shipped with a checkpoint never runs. Raises ModelCorrupt."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as exc:  # noqa: BLE001 - malformed configs raise many types
        why = str(exc).splitlines()[0][:200] if str(exc) else type(exc).__name__
        raise ModelCorrupt(f"{folder / 'config.json'} is not a usable configuration: {why}") from None


def _read_generation_config(model: nn.Module, folder: Path) -> None:
    """Set generation_config from its file, as from_pretrained does. Raises ModelCorrupt."""
    path = folder / "generation_config.json"
    if not hasattr(model, "generation_config") or not path.is_file():
        return
    from transformers import GenerationConfig

    try:
        model.generation_config = GenerationConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except Exception as exc:  # noqa: BLE001
        raise ModelCorrupt(f"{path} cannot be used ({type(exc).__name__}): run `golem models pull` again.") from None
