"""How other code reads a module's weights, packed or not: never through its `weight`."""

from typing import Any, cast

import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.store.packed.modules import PackedModule


def dense(module: Any, dtype: torch.dtype) -> torch.Tensor:
    """The weights of a linear layer or an embedding, (out, in) or (count, width), as `dtype`. Those of a plain module
    in its own dtype are not copied; packed ones are unpacked."""
    if isinstance(module, PackedModule):
        unpacked = module.held().dense(dtype)
        return unpacked.t() if module.turned else unpacked
    weight = cast(torch.Tensor, module.weight)
    return (weight.t() if type(module).__name__ == "Conv1D" else weight).to(dtype)


def project(module: Any, rows: torch.Tensor) -> torch.Tensor:
    """A linear layer applied to rows, (…, in) → (…, out), with its bias if it has one."""
    return cast(torch.Tensor, module(rows))


def embed(module: Any, ids: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The rows of an embedding, or of a linear layer's weights, for ids, int64 (…) → (…, width), without the factor of
    a scaled embedding: as `dtype`, or in the dtype that the model's rows run in."""
    if isinstance(module, PackedModule):
        return module.lookup(ids) if dtype is None else module.held().rows(ids, dtype)
    found = F.embedding(ids, module.weight)
    return found if dtype is None else found.to(dtype)
