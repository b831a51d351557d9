"""Float32 matrix products on CPUs: by oneDNN where PyTorch's usual library, MKL, makes little use of the processor.

MKL multiplies float32 without AVX-512 on AMD's processors; oneDNN's product, which PyTorch has too, uses it. On a Zen 5
core 1500 × 384 × 1536 take 8.4 ms instead of 17.2. Both sum in float32: they differ in the order of the sums only.
"""

from functools import cache
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.devices.cpu import read_flags, read_vendor

#: With fewer rows the call itself costs more than is saved: 41 against 53 µs for 16 rows of 384 × 384, 33 for 8.
LEAST_ROWS = 16
#: Elements of a weight that is read from memory rather than from a cache: fewer rows gain too. One row of 576 × 1536
#: takes 183 instead of 220 µs, of a vocabulary of 49152 × 576 4.1 instead of 6.8 ms.
LARGE = 700_000


def gains(vendor: str, flags: frozenset[str]) -> bool:
    """Whether oneDNN multiplies float32 faster than MKL on a processor of this vendor and with these flags. Pure."""
    return vendor == "AuthenticAMD" and "avx512f" in flags


def linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`F.linear`, (…, in) times (out, in) → (…, out), by the faster library."""
    few = not rows.numel() or (rows.numel() < LEAST_ROWS * rows.shape[-1] and weight.numel() < LARGE)
    if few or rows.device.type != "cpu" or rows.dtype != torch.float32 or not is_quick():
        return F.linear(rows, weight, bias)
    # with a weight that is not contiguous, oneDNN takes a thousand times as long
    product = torch.ops.mkldnn._linear_pointwise(rows.contiguous(), weight.contiguous(), bias, "none", [], "")
    return cast(torch.Tensor, product)


class QuickLinear(nn.Linear):
    """A linear layer that multiplies by `linear`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return linear(input, self.weight, self.bias)


def quicken(model: nn.Module) -> None:
    """Let a model's plain linear layers multiply by `linear` if this machine gains by it. Hooks and names stay."""
    if is_quick():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = QuickLinear


@cache
def is_quick() -> bool:
    """Whether this machine's float32 products go to oneDNN."""
    built = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return bool(built) and gains(read_vendor(), read_flags())
