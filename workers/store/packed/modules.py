"""Layers with packed weights, which take the places of linear layers and embeddings in a model's modules."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast

import torch
from torch import nn

from golem_chain.workers.store.packed.blocks import (
    ALIGN_BYTES,
    GROUP,
    LEAST_WEIGHTS,
    TILE,
    Packed,
    bytes_of,
    is_aligned,
    tile,
)

#: Rows up to which torch's packed products (bfloat16, on a CPU) are faster than unpacking a layer and multiplying.
#: Measured with one thread on AVX512-BF16 for layers of 576 × 1536 to 1024 × 4096; with AMX the border is lower.
_MOST_ROWS = {"int8": 16, "int4": 64, "q4_1": 64, "q4_0": 64, "q8_0": 64}


class PackedModule(nn.Module):
    """A layer whose weights are packed. `packed` and `dtype`, that of its rows, are set by a load; without one the
    layer cannot run."""

    def __init__(self, shape: tuple[int, int], turned: bool = False) -> None:
        super().__init__()
        self.shape, self.turned = shape, turned  # (out, in); whether the model's own tensor is (in, out)
        self.packed: Packed | None = None
        self.dtype = torch.float32
        self._pairs: torch.Tensor | None = None  # what the 4-bit product takes instead of GGUF's scales

    @property
    def file_shape(self) -> tuple[int, int]:
        """The shape of the model's own tensor."""
        return (self.shape[1], self.shape[0]) if self.turned else self.shape

    def hold(self, packed: Packed | None, dtype: torch.dtype, pairs: torch.Tensor | None = None) -> None:
        """Take or, with None, drop the weights. `pairs`: of `pairs_of`, if the product needs them."""
        self.packed, self.dtype, self._pairs = packed, dtype, pairs

    def held(self) -> Packed:
        """The weights."""
        assert self.packed is not None, "a packed layer ran while it was not loaded"
        return self.packed

    def lookup(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows of the weights with these ids, int64 (…) → (…, in)."""
        return self.held().rows(ids, self.dtype)

    def project(self, rows: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Rows (…, in) times the weights, (…, out), in the dtype of the rows."""
        packed = self.held()
        flat = rows.reshape(-1, self.shape[1])
        found = self._product(packed, flat)
        if found is None:
            found = flat.new_empty(len(flat), self.shape[0])
            for start in range(0, self.shape[0], packed.step):
                piece = packed.unpack(rows.dtype, start, start + packed.step)
                torch.mm(flat, piece.t(), out=found[:, start : start + len(piece)])
        if bias is not None:
            found += bias
        return found.view(*rows.shape[:-1], self.shape[0])

    def _product(self, packed: Packed, flat: torch.Tensor) -> torch.Tensor | None:
        """torch's packed product, where there is one and it is faster."""
        usable = flat.device.type == "cpu" and flat.dtype == torch.bfloat16
        if not usable or not 0 < len(flat) <= _MOST_ROWS.get(packed.kind, 0):
            return None
        if packed.kind == "int8":
            if self.shape[1] % ALIGN_BYTES or not is_aligned(packed.values):
                return None
            rows = flat.contiguous()
            rows = rows if is_aligned(rows) else rows.clone()
            return torch._weight_int8pack_mm(rows, packed.values, packed.scales)
        pairs = packed.scales if packed.kind == "int4" else self._pairs
        if pairs is None or not _reads_tiles():
            return None
        given, halved = flat.contiguous(), self.shape[1] // 2
        if packed.kind != "q8_0":
            found = torch._weight_int4pack_mm_for_cpu(given, packed.values.view(-1, halved), GROUP, pairs)
            return found[:, : self.shape[0]]
        upper, lower = (plane.view(-1, halved) for plane in packed.values)
        found = torch._weight_int4pack_mm_for_cpu(given * 16, upper, GROUP, pairs)
        found += torch._weight_int4pack_mm_for_cpu(given, lower, GROUP, pairs)
        return found[:, : self.shape[0]]


class PackedLinear(PackedModule):
    """A linear layer, or GPT-2's Conv1D (`turned`), with packed weights and a plain bias."""

    def __init__(self, shape: tuple[int, int], bias: nn.Parameter | None, turned: bool = False) -> None:
        super().__init__(shape, turned)
        self.out_features, self.in_features = shape
        self.register_parameter("bias", bias)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (…, in) → (…, out)."""
        return self.project(rows, cast("torch.Tensor | None", self.bias))


class PackedEmbedding(PackedModule):
    """An embedding with packed weights; `scale` multiplies its rows (BART's scaled words)."""

    def __init__(self, shape: tuple[int, int], scale: float = 1.0) -> None:
        super().__init__(shape)
        self.num_embeddings, self.embedding_dim = shape
        self.scale = scale

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows of ids, int64 (…) → (…, in)."""
        found = self.lookup(ids)
        return found if self.scale == 1.0 else found * self.scale


def pairs_of(packed: Packed, dtype: torch.dtype, device: torch.device) -> torch.Tensor | None:
    """Scale and middle of each group as torch's 4-bit product takes them, bfloat16 (in / 32, rows, 2); None where the
    product does not take them or has them already.

    That product is rows × (scale × (value - 8) + middle). For the two planes of `q8_0`, one of which is multiplied by
    16, the same pairs serve: 16 × (upper - 8) + (lower - 8) is 8 below the value, which 17 times the middle makes up.
    """
    if not _needs_pairs(packed.kind, dtype, device):
        return None
    scale = packed.scales[..., 0].float()
    middle = {
        "q4_1": lambda: packed.scales[..., 1].float() + 8 * scale,
        "q4_0": lambda: torch.zeros_like(scale),
        "q8_0": lambda: 8 / 17 * scale,
    }[packed.kind]()
    return torch.stack([scale, middle], dim=-1).to(dtype)


def held_bytes(kind: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> int:
    """Bytes of a matrix (out, in) in memory: its scales or, where the product takes them instead, the pairs."""
    if not _needs_pairs(kind, dtype, device):
        return bytes_of(kind, shape)
    groups, rows = shape[1] // GROUP, -(-shape[0] // TILE) * TILE
    exact = 2 * groups * rows * (2 if kind == "q4_1" else 1)
    return bytes_of(kind, shape) - exact + 4 * groups * rows


def _needs_pairs(kind: str, dtype: torch.dtype, device: torch.device) -> bool:
    ours = kind in ("int8", "int4")
    return not ours and dtype == torch.bfloat16 and device.type == "cpu" and _reads_tiles()


@cache
def _reads_tiles() -> bool:
    """Whether torch's 4-bit product reads tiles in our order on this processor: it does with AVX-512."""
    values = torch.arange(TILE * GROUP).remainder(16).view(TILE, GROUP) ^ torch.arange(TILE)[:, None].remainder(16)
    try:
        theirs = torch._convert_weight_to_int4pack_for_cpu(values.to(torch.int32), 1)
    except (RuntimeError, AttributeError):
        return False
    return torch.equal(theirs.reshape(-1), tile(values.to(torch.uint8)).reshape(-1))


# -- putting them in place ---------------------------------------------------------------------------------------------

#: Tables of positions and of the two halves of a pair: small, and added to rows whose rounding matters.
_NOT_PACKED = re.compile(r"(^|\.)(wpe|\w*position\w*|token_type_embeddings)$", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Packed layers that share one matrix, with the names that its tensor may have."""

    names: tuple[str, ...]
    modules: tuple[PackedModule, ...]


class _Shaped(Protocol):
    weight: nn.Parameter


def install(model: nn.Module) -> list[Place]:
    """Replace a model's linear layers and embeddings by packed ones, in place. Positions, convolutions, norms, small
    matrices and layers of unknown classes stay, and so do matrices that one of those shares."""
    found: dict[int, list[tuple[str, nn.Module, str, nn.Module]]] = {}
    for prefix, parent in model.named_modules(remove_duplicate=False):
        for attribute, module in parent._modules.items():
            weight = getattr(module, "weight", None)
            if module is not None and isinstance(weight, nn.Parameter):
                name = f"{prefix}.{attribute}" if prefix else attribute
                found.setdefault(id(weight), []).append((name, parent, attribute, module))
    everywhere = _uses(model)
    places = []
    for key, uses in found.items():
        makers = [_maker(name, module) for name, _, _, module in uses]
        if None in makers or len({name for name, *_ in uses}) != everywhere[key]:
            continue
        made: dict[int, PackedModule] = {}
        for (_, parent, attribute, module), make in zip(uses, makers, strict=True):
            if id(module) not in made:
                made[id(module)] = cast(Callable[[], PackedModule], make)()
                _keep_hooks(module, made[id(module)])
            parent._modules[attribute] = made[id(module)]
        names = tuple(dict.fromkeys(f"{name}.weight" for name, *_ in uses))
        places.append(Place(names, tuple(made.values())))
    return places


def _uses(model: nn.Module) -> dict[int, int]:
    """How many names each parameter has in the model."""
    counts: dict[int, int] = {}
    for _, module in model.named_modules(remove_duplicate=False):
        for parameter in module._parameters.values():
            if parameter is not None:
                counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    return counts


def _maker(name: str, module: nn.Module) -> Callable[[], PackedModule] | None:
    """What makes the packed layer for a plain one; None if that stays."""
    weight = cast(torch.Tensor, module.weight)
    if weight.dim() != 2 or weight.numel() < LEAST_WEIGHTS or _NOT_PACKED.search(name):
        return None
    first, second = weight.shape
    kind = type(module).__name__
    bias = cast("nn.Parameter | None", getattr(module, "bias", None))
    if type(module) is nn.Linear:
        return lambda: PackedLinear((first, second), bias)
    if kind == "Conv1D":
        return lambda: PackedLinear((second, first), bias, turned=True)
    if type(module) is nn.Embedding and module.max_norm is None:
        return lambda: PackedEmbedding((first, second))
    if isinstance(module, nn.Embedding) and kind.endswith("ScaledWordEmbedding"):
        factor = float(cast(Any, module).embed_scale)
        return lambda: PackedEmbedding((first, second), factor)
    return None


def _keep_hooks(old: nn.Module, new: nn.Module) -> None:
    for name, value in vars(old).items():
        if "_hooks" in name:
            setattr(new, name, value)
