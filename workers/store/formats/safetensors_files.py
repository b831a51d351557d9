"""Safetensors files: a header parser without dependencies, zero-copy mapping, and a streaming writer.

Format: https://huggingface.co/docs/safetensors (8 bytes of header length, JSON, data).
"""

import hashlib
import json
import math
import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golem_chain.shared.errors import ModelCorrupt

if TYPE_CHECKING:
    import torch

#: Bytes per element of the supported safetensors types.
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = ("F64", "F32", "F16", "BF16")
_TORCH_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_HEADER_LIMIT_BYTES = 100 << 20  # as in the reference implementation
_MOST_ITEMS = (1 << 63) - 1  # torch computes strides in 64 bits, for an empty tensor too
_ALIGN_BYTES = 64  # data starts on a cache line, so that mapped tensors are aligned
_MADV_POPULATE_READ = 22  # Linux 5.14: map all pages at once instead of one page fault per 16


@dataclass(frozen=True)
class Entry:
    """A tensor in a file; `start` and `stop` are byte offsets from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, Entry]:
    """Read the tensor entries of a safetensors file by name. Raises ModelCorrupt, FileNotFoundError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
        if not 2 <= length <= min(_HEADER_LIMIT_BYTES, size - 8):
            raise _corrupt(path, "its header is truncated or damaged")
        raw = file.read(length)
    try:
        header = json.loads(raw)
        entries = {
            name: _entry(path, name, value, 8 + length, size)
            for name, value in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _corrupt(path, "its header is damaged") from None
    if not entries:
        raise _corrupt(path, "it has no tensors")
    return entries


def _corrupt(path: Path, why: str) -> ModelCorrupt:
    return ModelCorrupt(f"{path} is not a valid safetensors file: {why}. Run `golem models pull` again.")


def _entry(path: Path, name: str, value: dict[str, object], base: int, size: int) -> Entry:
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or not isinstance(dtype, str):
        raise TypeError
    start, stop = offsets
    numbers = [*shape, start, stop]
    if any(not isinstance(number, int) or isinstance(number, bool) or number < 0 for number in numbers):
        raise TypeError
    if dtype not in ITEM_BYTES:
        raise _corrupt(path, f"{name} has the unsupported type {dtype[:20]}")
    if math.prod(max(number, 1) for number in shape) > _MOST_ITEMS:
        raise _corrupt(path, f"the shape of {name} is too large")
    entry = Entry(dtype, tuple(shape), base + start, base + stop)
    if entry.stop > size:
        raise _corrupt(path, f"it ends before the data of {name}")
    if entry.count * ITEM_BYTES[dtype] != entry.stop - entry.start:
        raise _corrupt(path, f"the size of {name} does not match its shape")
    return entry


class MappedFile:
    """A file mapped privately; `tensors` are views of it, and keep it open as long as one of them lives."""

    def __init__(self, path: Path) -> None:
        """Nothing is read but the header. Raises ModelCorrupt, FileNotFoundError."""
        import torch

        self._entries = read_header(path)
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self._mapped, self.tensors = mapped, dict[str, torch.Tensor]()
        for name, entry in self._entries.items():
            dtype: torch.dtype = getattr(torch, _TORCH_NAMES[entry.dtype])
            if entry.count == 0:
                self.tensors[name] = torch.empty(entry.shape, dtype=dtype)
            elif entry.start % ITEM_BYTES[entry.dtype]:  # other writers do not always align tensors: copy
                raw = bytearray(mapped[entry.start : entry.stop])
                self.tensors[name] = torch.frombuffer(raw, dtype=dtype).view(entry.shape)
            else:
                flat = torch.frombuffer(mapped, dtype=dtype, count=entry.count, offset=entry.start)
                self.tensors[name] = flat.view(entry.shape)

    def populate(self) -> None:
        """Map all pages at once."""
        try:
            self._mapped.madvise(_MADV_POPULATE_READ)
        except (OSError, AttributeError):  # an older kernel or another system: pages are mapped on first access
            if hasattr(mmap, "MADV_WILLNEED"):
                self._mapped.madvise(mmap.MADV_WILLNEED)

    def release(self, name: str) -> None:
        """Take a tensor's pages out of this process: reading them again reads them from the file. For what was
        converted, so that weights are not in memory twice while a model loads."""
        entry = self._entries.get(name)
        if entry is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        first = -(-entry.start // mmap.PAGESIZE) * mmap.PAGESIZE
        last = entry.stop // mmap.PAGESIZE * mmap.PAGESIZE
        if first < last:
            self._mapped.madvise(mmap.MADV_DONTNEED, first, last - first)

    def release_all(self) -> None:
        """Take all pages out of this process, as `release` does those of one tensor."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)


def map_tensors(path: Path, touch: bool = True) -> dict[str, "torch.Tensor"]:
    """All tensors of a file as views of one private mapping, which is closed with the last of them. Nothing is copied.
    `touch` maps all pages at once. Raises ModelCorrupt."""
    mapping = MappedFile(path)
    if touch:
        mapping.populate()
    return mapping.tensors


@dataclass(frozen=True)
class Planned:
    """A tensor to be written; `make` produces it when needed."""

    name: str
    shape: tuple[int, ...]
    dtype: "torch.dtype"  # as produced by `make`; floats are written in the dtype of the file
    make: "Callable[[], torch.Tensor]"
    as_is: bool = False  # written in its own dtype: scales of packed weights

    @classmethod
    def of(cls, name: str, tensor: "torch.Tensor") -> "Planned":
        """A tensor that is there already."""
        return cls(name, tuple(tensor.shape), tensor.dtype, lambda: tensor)

    def kind(self, dtype: "torch.dtype") -> "torch.dtype":
        """The dtype in a file whose floats are `dtype`."""
        return dtype if self.dtype.is_floating_point and not self.as_is else self.dtype

    def nbytes(self, dtype: "torch.dtype") -> int:
        """Its size in a file whose floats are `dtype`."""
        return math.prod(self.shape) * self.kind(dtype).itemsize


def write_tensors(
    path: Path, planned: Sequence[Planned], dtype: "torch.dtype", report: Callable[[int], None] = lambda _: None
) -> str:
    """Write a safetensors file, floats as `dtype`, and return its SHA-256. Holds one tensor in memory at a time.
    Tensors of whole cache lines come first, so that all of them are aligned when the file is mapped.

    `report` gets the bytes written in each step. The metadata is `{"format": "pt"}`, which transformers requires.
    Raises ModelCorrupt if the conversion makes a finite number infinite.
    """
    import torch

    codes = {getattr(torch, name): code for code, name in _TORCH_NAMES.items()}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    planned = sorted(planned, key=lambda tensor: _place(tensor, dtype))
    for tensor in planned:
        size = tensor.nbytes(dtype)
        header[tensor.name] = {
            "dtype": codes[tensor.kind(dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + size],
        }
        at += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-(8 + len(raw)) % _ALIGN_BYTES)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in _pieces(struct.pack("<Q", len(raw)) + raw, planned, dtype):
            file.write(piece)
            digest.update(piece)
            report(len(piece))
    return digest.hexdigest()


def _place(tensor: Planned, dtype: "torch.dtype") -> tuple[bool, int]:
    """The sort key of a tensor in a file, which may have no holes: whole cache lines, then larger elements first."""
    part = tensor.nbytes(dtype) % _ALIGN_BYTES != 0
    return part, -tensor.kind(dtype).itemsize if part else 0


def _pieces(head: bytes, planned: Sequence[Planned], dtype: "torch.dtype") -> "Iterator[bytes | memoryview]":
    import torch

    yield head
    for wanted in planned:
        tensor = wanted.make().detach()
        if tuple(tensor.shape) != wanted.shape:
            raise ModelCorrupt(f"{wanted.name} has shape {list(tensor.shape)}, not {list(wanted.shape)}.")
        if tensor.dtype.is_floating_point and tensor.dtype != dtype and not wanted.as_is:
            cast = tensor.to(dtype)
            if not _finite(cast) and _finite(tensor):
                raise ModelCorrupt(f"{wanted.name} overflows {dtype}: set GOLEM_DTYPE=float32 or bfloat16.")
            tensor = cast
        if tensor.numel():
            array: Any = tensor.contiguous().view(-1).view(torch.uint8).numpy()
            yield memoryview(array)


def _finite(tensor: "torch.Tensor") -> bool:
    """Whether all values are. The extremes of a tensor with NaN are NaN, and they take one vectorised pass: `isfinite`
    takes twenty times as long on bfloat16."""
    return not tensor.numel() or all(math.isfinite(extreme) for extreme in tensor.aminmax())
