"""Linear layers of a decoder: plain ones by the faster library, packed ones as they are."""

from typing import Any

import torch
from torch import nn

from golem_chain.workers.devices.products import linear
from golem_chain.workers.store.packed.dense import dense, project


def multiply(module: Any, rows: torch.Tensor) -> torch.Tensor:
    """`module` applied to `rows`, (n, in) → (n, out)."""
    if type(module) is nn.Linear and rows.device.type == "cpu":
        return linear(rows, dense(module, rows.dtype), module.bias)
    return project(module, rows)


def add_product(rest: torch.Tensor, module: Any, rows: torch.Tensor) -> torch.Tensor:
    """`rest`, (n, out), plus `module` applied to `rows`: one kernel on a card if the layer is plain and has no bias."""
    if rows.device.type != "cpu" and type(module) is nn.Linear and getattr(module, "bias", None) is None:
        return torch.addmm(rest, rows, dense(module, rows.dtype).t())
    return multiply(module, rows).add_(rest)
