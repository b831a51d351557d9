"""What the layers of a decoder add their products to, and how."""

from typing import Any

import torch
from torch import nn

from golem_chain.workers.store.packed.dense import dense, project


def residual(rows: torch.Tensor) -> torch.Tensor:
    """Embedded rows as what the layers add to: on a CPU in float32, where it costs next to nothing and sums are exact.
    On a card each layer would need two kernels more."""
    return rows.float() if rows.device.type == "cpu" else rows


def add_product(rest: torch.Tensor, module: Any, rows: torch.Tensor) -> torch.Tensor:
    """`rest`, (n, out), plus `module` applied to `rows`: one kernel on a card if the layer is plain and has no bias.
    `rest` may be overwritten."""
    if rows.device.type != "cpu" and type(module) is nn.Linear and getattr(module, "bias", None) is None:
        return torch.addmm(rest, rows, dense(module, rows.dtype).t())
    return rest.add_(project(module, rows))
