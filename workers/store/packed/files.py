"""How packed matrices lie in a safetensors file: two tensors each, named by what the values mean. Pure.

A matrix `name` of kind `int8` with 3072 rows is `name:int8:3072:values` and `name:int8:3072:scales`; `int8t` says that
the model's own tensor is transposed.
"""

import re
from collections.abc import Callable, Mapping

import torch

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.workers.store.formats.safetensors_files import Planned
from golem_chain.workers.store.packed.blocks import GROUP, KINDS, TILE, Packed, is_aligned

_NAME = re.compile(
    rf"(?P<name>.+):(?P<kind>{'|'.join(KINDS)})(?P<turned>t?):(?P<out>\d{{1,12}}):(?P<part>values|scales)"
)


def parts(name: str, packed: Packed) -> dict[str, torch.Tensor]:
    """The tensors of a packed matrix by their names in a file."""
    return {f"{_stem(name, packed)}:values": packed.values, scales_of(name, packed): packed.scales}


def scales_of(name: str, packed: Packed) -> str:
    """The name in a file of the scales of a packed matrix."""
    return f"{_stem(name, packed)}:scales"


def _stem(name: str, packed: Packed) -> str:
    return f"{name}:{packed.kind}{'t' if packed.turned else ''}:{packed.shape[0]}"


def is_packed(name: str) -> bool:
    """Whether a tensor in a file is a part of a packed matrix."""
    return _NAME.fullmatch(name) is not None


def described(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str | None, tuple[int, ...]]]:
    """Name → kind (None: not packed) and the shape of the model's own tensor, from the shapes in a file's header."""
    found: dict[str, tuple[str | None, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = _NAME.fullmatch(name)
        if match is None:
            found[name] = None, shape
        elif match["part"] == "values" and len(shape) > 1:
            matrix = int(match["out"]), _width(shape)
            found[match["name"]] = match["kind"], matrix[::-1] if match["turned"] else matrix
    return found


def gather(tensors: Mapping[str, torch.Tensor], file: str) -> dict[str, torch.Tensor | Packed]:
    """The tensors of a file, with the parts of packed matrices put together. Raises ModelCorrupt."""
    found: dict[str, torch.Tensor | Packed] = {}
    halves: dict[tuple[str, str, str, str], dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            found[name] = tensor
        else:
            halves.setdefault((match["name"], match["kind"], match["turned"], match["out"]), {})[match["part"]] = tensor
    for (name, kind, turned, out), both in halves.items():
        packed = _checked(kind, int(out), both.get("values"), both.get("scales"), turned == "t")
        if packed is None or name in found:
            raise ModelCorrupt(f"{file} has a packed {name} that does not fit together: run `golem models pull` again.")
        found[name] = packed
    return found


def _checked(
    kind: str, out: int, values: torch.Tensor | None, scales: torch.Tensor | None, turned: bool
) -> Packed | None:
    """The matrix; None if its parts do not have the dtypes and shapes of its kind."""
    if values is None or scales is None or out < 1:
        return None
    width = _width(tuple(values.shape)) if values.dim() > 1 else 0
    given = (values.dtype, tuple(values.shape), scales.dtype, tuple(scales.shape))
    if given != _layout(kind, (out, width)) or width < 1 or (kind != "int8" and width % GROUP):
        return None
    if kind == "int8" and values.device.type == "cpu" and not is_aligned(values):
        values = values.clone()  # torch allocates aligned
    return Packed(kind, (out, width), values, scales, turned)


def _width(values: tuple[int, ...]) -> int:
    """`in`, from the shape of the values."""
    return values[-1] if len(values) == 2 else values[-2]


def _layout(kind: str, shape: tuple[int, int]) -> tuple[torch.dtype, tuple[int, ...], torch.dtype, tuple[int, ...]]:
    """Dtype and shape of the values, and of the scales, of a matrix (out, in)."""
    out, width = shape
    groups, rows = width // GROUP, -(-out // TILE) * TILE
    tiles = (rows // TILE, width, TILE // 2)
    return {
        "int8": (torch.int8, (out, width), torch.bfloat16, (out,)),
        "q8_0": (torch.uint8, (2, *tiles), torch.float16, (groups, rows, 1)),
        "int4": (torch.uint8, tiles, torch.bfloat16, (groups, rows, 2)),
        "q4_1": (torch.uint8, tiles, torch.float16, (groups, rows, 2)),
        "q4_0": (torch.uint8, tiles, torch.float16, (groups, rows, 1)),
    }[kind]


def planned(name: str, kind: str, shape: tuple[int, int], turned: bool, make: Callable[[], Packed]) -> list[Planned]:
    """The parts of a matrix (out, in) to be written; `make` packs it when its values are."""
    stem = f"{name}:{kind}{'t' if turned else ''}:{shape[0]}"
    value_dtype, value_shape, scale_dtype, scale_shape = _layout(kind, shape)
    once = _Once(make)
    return [
        Planned(f"{stem}:values", value_shape, value_dtype, once.values, as_is=True),
        Planned(f"{stem}:scales", scale_shape, scale_dtype, once.scales, as_is=True),
    ]


class _Once:
    """A matrix that is packed for its values; its scales are kept until they are written."""

    def __init__(self, make: Callable[[], Packed]) -> None:
        self._make = make
        self._scales: torch.Tensor | None = None  # between the two calls

    def values(self) -> torch.Tensor:
        packed = self._make()
        self._scales = packed.scales
        return packed.values

    def scales(self) -> torch.Tensor:
        scales, self._scales = self._scales, None
        return self._make().scales if scales is None else scales  # packed again where the values come later
