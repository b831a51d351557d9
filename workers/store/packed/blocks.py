"""Packed matrices: how weights of 8 and 4 bits lie in memory, packing, and exact unpacking. Pure.

| kind | values | scales | weight |
|---|---|---|---|
| `int8` | int8 (out, in) | bfloat16 (out,) | scale × value |
| `q8_0` | two planes of tiles | float16 (in / 32, rows, 1) | scale × (16 × upper + lower - 128) |
| `int4` | tiles | bfloat16 (in / 32, rows, 2): scale, middle | scale × value + (middle - 8 × scale) |
| `q4_1` | tiles | float16 (in / 32, rows, 2): scale, minimum | scale × value + minimum |
| `q4_0` | tiles | float16 (in / 32, rows, 1): scale | scale × (value - 8) |

Tiles are uint8 (rows / 64, in, 32), where rows is `out` rounded up to 64: byte j holds row j of the tile in its low
half and row 32 + j in its high half. That is the order in which torch's 4-bit product reads them with AVX-512, so that
mapped pages can be multiplied as they are; two planes are uint8 (2, rows / 64, in, 32), the upper halves of the values
and the lower ones. `q8_0`, `q4_1` and `q4_0` hold what GGUF's blocks of these types hold, in
another order (ggml-common.h in https://github.com/ggml-org/ggml); `int8` and `int4` are our own, with scales that
bfloat16 products do not have to round.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch

GROUP = 32  # weights that share a scale, along `in`
TILE = 64  # rows of a tile
KINDS = ("int8", "q8_0", "int4", "q4_1", "q4_0")
#: torch's 8-bit product (2.13, AVX-512) ends the process if its operands or their rows do not start at multiples of
#: this: it loads whole registers.
ALIGN_BYTES = 32
#: Matrices of fewer weights stay as they are: they take little memory and their products little time.
LEAST_WEIGHTS = 4096
_HALF = TILE // 2
_MIDDLE = 8  # of the values 0 to 15
#: Weights unpacked at a time: float32 values of this many fit into a core's cache, a card takes more to be busy.
_PIECE, _PIECE_ON_CARD = 1 << 18, 1 << 24


@dataclass(frozen=True)
class Packed:
    """A packed matrix of `shape` (out, in); `turned` says that the model's own tensor is (in, out)."""

    kind: str
    shape: tuple[int, int]
    values: torch.Tensor
    scales: torch.Tensor
    turned: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of values and scales."""
        return self.values.nbytes + self.scales.nbytes

    @property
    def file_shape(self) -> tuple[int, int]:
        """The shape of the model's own tensor."""
        return (self.shape[1], self.shape[0]) if self.turned else self.shape

    @property
    def bits(self) -> int:
        """Bits of a value, 8 or 4."""
        return bits_of(self.kind)

    @property
    def step(self) -> int:
        """Rows to unpack at a time, a multiple of a tile."""
        piece = _PIECE if self.values.device.type == "cpu" else _PIECE_ON_CARD
        return max(1, piece // max(1, self.shape[1]) // TILE) * TILE

    def to(self, device: torch.device) -> "Packed":
        """On another device; the same if it is there."""
        return replace(
            self, values=self.values.to(device, non_blocking=True), scales=self.scales.to(device, non_blocking=True)
        )

    def unpack(self, dtype: torch.dtype, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows `start` to `stop` as (stop - start, in), computed in float32 and rounded once to `dtype`. `start` is a
        multiple of 64. In memory the result may be transposed."""
        stop = self.shape[0] if stop is None else min(stop, self.shape[0])
        if self.kind == "int8":
            whole = self.values[start:stop].float()
            return whole.mul_(self.scales[start:stop, None].float()).to(dtype)
        return _untile(self, start, stop).to(dtype)

    def rows(self, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The rows of these ids, int64 (…), as (…, in): only those are unpacked."""
        flat = ids.reshape(-1)
        if self.kind == "int8":
            found = self.values[flat].float() * self.scales[flat, None].float()
        else:
            found = _rows_of_tiles(self, flat)
        return found.to(dtype).view(*ids.shape, self.shape[1])

    def dense(self, dtype: torch.dtype) -> torch.Tensor:
        """The whole tensor in the model's own orientation. Holds one piece in float32 beside it."""
        out = torch.empty(self.shape, dtype=dtype, device=self.values.device)
        for start in range(0, self.shape[0], self.step):
            piece = self.unpack(dtype, start, start + self.step)
            out[start : start + len(piece)] = piece
        return out.t().contiguous() if self.turned else out


def is_aligned(tensor: torch.Tensor) -> bool:
    """Whether torch's 8-bit product can read a contiguous tensor where it lies."""
    return tensor.data_ptr() % ALIGN_BYTES == 0


def _untile(packed: Packed, start: int, stop: int) -> torch.Tensor:
    """Rows of a tiled matrix, float32 (stop - start, in), a view of a transposed result."""
    first, last = start // TILE, -(-stop // TILE)
    tiles = packed.values[..., first:last, :, :]
    count, width, _ = tiles.shape[-3:]
    out = torch.empty(width, count, 2, _HALF, dtype=torch.float32, device=tiles.device)
    for half, values in enumerate(_halves(packed.kind, tiles)):
        out[:, :, half] = values.float().transpose(0, 1)
    grouped = out.view(width // GROUP, GROUP, count * TILE)
    scales = packed.scales[:, first * TILE : last * TILE].float()  # (groups, rows, 2 or 1)
    _apply(packed.kind, grouped, scales[:, None, :, 0], scales[:, None, :, -1])
    return grouped.view(width, -1).t()[: stop - start]


def _halves(kind: str, tiles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The values of the first 32 rows of each tile, and of the others: (tiles, in, 32) each."""
    if kind != "q8_0":
        return tiles & 15, tiles >> 4
    upper, lower = tiles[0], tiles[1]
    both = upper << 4 | lower & 15, upper & 0xF0 | lower >> 4
    return (both[0] ^ 0x80).view(torch.int8), (both[1] ^ 0x80).view(torch.int8)


def _rows_of_tiles(packed: Packed, flat: torch.Tensor) -> torch.Tensor:
    lane = flat % TILE
    bytes_ = packed.values[..., flat // TILE, :, lane % _HALF]  # (ids, in), or (ids, 2, in)
    if packed.kind == "q8_0":
        bytes_ = bytes_.transpose(0, 1)
    first, second = _halves(packed.kind, bytes_)
    values = torch.where((lane >= _HALF)[:, None], second, first).float()
    grouped = values.view(len(flat), packed.shape[1] // GROUP, GROUP)
    scales = packed.scales[:, flat].float().transpose(0, 1)  # (ids, groups, 2 or 1)
    _apply(packed.kind, grouped, scales[:, :, :1], scales[:, :, -1:])
    return grouped.view(len(flat), packed.shape[1])


def _apply(kind: str, values: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor) -> None:
    """Make weights of the values 0 to 15, in place."""
    if kind in ("q4_0", "q8_0"):
        values.sub_(_MIDDLE if kind == "q4_0" else 0).mul_(scale)
        return
    values.mul_(scale).add_(offset if kind == "q4_1" else offset - _MIDDLE * scale)


def bits_of(kind: str) -> int:
    """Bits of a value of a kind, 8 or 4."""
    return 8 if kind in ("int8", "q8_0") else 4


def bytes_of(kind: str, shape: tuple[int, int]) -> int:
    """Bytes of values and scales of a matrix (out, in)."""
    out, width = shape
    rows = out if kind == "int8" else -(-out // TILE) * TILE
    values = rows * width * bits_of(kind) // 8
    scales = {"int8": rows, "q8_0": rows * (width // GROUP), "q4_0": rows * (width // GROUP)}
    return values + 2 * scales.get(kind, 2 * rows * (width // GROUP))


# -- packing -----------------------------------------------------------------------------------------------------------


def packs_as(shape: tuple[int, int], bits: int) -> str:
    """The kind of our own in which a matrix (out, in) is packed: 8 bits if its rows do not divide into groups."""
    return "int4" if bits == 4 and shape[1] % GROUP == 0 else "int8"


def pack(weight: "torch.Tensor | Packed", bits: int, *, turned: bool = False) -> Packed:
    """Pack a float tensor, (out, in), or (in, out) if `turned`: 8 bits by row, or 4 bits by groups of 32; or pack
    anew what is packed otherwise. Weights that are not finite make all that share their scale not finite. Holds one
    piece in float32 beside the result."""
    if isinstance(weight, Packed):
        turned, shape, source = weight.turned, weight.shape, weight
        rows = partial(source.unpack, torch.float32)
    else:
        matrix = weight.t() if turned else weight
        shape = (matrix.shape[0], matrix.shape[1])
        rows = partial(_some_rows, matrix)
    kind, groups, padded = packs_as(shape, bits), shape[1] // GROUP, -(-shape[0] // TILE) * TILE
    if kind == "int8":
        values, scales = torch.empty(shape, dtype=torch.int8), torch.empty(shape[0], dtype=torch.bfloat16)
    else:
        values = torch.empty(padded // TILE, shape[1], _HALF, dtype=torch.uint8)
        scales = torch.zeros(groups, padded, 2, dtype=torch.bfloat16)
    step = max(1, _PIECE // max(1, shape[1]) // TILE) * TILE
    for start in range(0, shape[0], step):
        found, scale = _quantise(kind, rows(start, min(start + step, shape[0])).contiguous())
        if kind == "int8":
            values[start : start + step], scales[start : start + step] = found, scale
        else:
            values[start // TILE : start // TILE + len(found)] = found
            scales[:, start : start + scale.shape[1]] = scale
    return Packed(kind, shape, values, scales, turned)


def _some_rows(matrix: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    return matrix[start:stop].float()


def _quantise(kind: str, piece: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if kind == "int8":
        scale = _upwards(piece.abs().amax(1) / 127)
        return _divided(piece, scale.float()[:, None]).round_().clamp_(-127, 127).to(torch.int8), scale
    grouped = piece.view(len(piece), -1, GROUP)
    low, high = grouped.amin(2), grouped.amax(2)
    scale = _upwards((high - low) / 15)
    middle = (low + _MIDDLE * scale.float()).to(torch.bfloat16)
    values = _divided(grouped - middle.float()[..., None], scale.float()[..., None]).round_().add_(_MIDDLE)
    whole = values.clamp_(0, 15).to(torch.uint8).view(piece.shape)
    pairs = torch.stack([scale, middle], dim=-1).transpose(0, 1)  # (groups, rows, 2)
    return tile(whole), pairs


def _upwards(scale: torch.Tensor) -> torch.Tensor:
    """The next bfloat16 that is not below: the largest weight stays in range."""
    rounded = scale.to(torch.bfloat16)
    return torch.where(rounded.float() < scale, torch.nextafter(rounded, rounded.new_tensor(torch.inf)), rounded)


def _divided(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Weights by their scale; 0 where the scale is 0, or not finite: the scale itself then says so."""
    usable = (scale > 0) & torch.isfinite(scale)
    return torch.where(usable, weights / torch.where(usable, scale, 1), 0)


def tile(values: torch.Tensor) -> torch.Tensor:
    """Values 0 to 15, uint8 (out, in), in tiles: uint8 (rows / 64, in, 32)."""
    out, width = values.shape
    padded = torch.nn.functional.pad(values, (0, 0, 0, -out % TILE))
    halves = padded.view(-1, 2, _HALF, width).transpose(2, 3)  # (tiles, 2, in, 32)
    return (halves[:, 0] | halves[:, 1] << 4).contiguous()


def of_gguf(kind: str, blocks: torch.Tensor, shape: tuple[int, int]) -> Packed:
    """What GGUF's blocks, uint8 (out × in / 32, bytes of a block), hold, of a matrix (out, in)."""
    out, width = shape
    heads = 4 if kind == "q4_1" else 2
    scales = blocks[:, :heads].contiguous().view(torch.float16).view(out, width // GROUP, -1)
    paired = torch.nn.functional.pad(scales.transpose(0, 1), (0, 0, 0, -out % TILE)).contiguous()
    if kind == "q8_0":
        raised = (blocks[:, heads:] ^ 0x80).view(shape)  # int8 + 128
        return Packed(kind, shape, torch.stack([tile(raised >> 4), tile(raised & 15)]), paired)
    nibbles = blocks[:, heads:].reshape(out, width // GROUP, GROUP // 2)  # elements 0-15 are low, 16-31 high
    values = torch.cat([nibbles & 15, nibbles >> 4], dim=2).view(shape)
    return Packed(kind, shape, tile(values), paired)
