"""Opens a checkpoint in a form: `Weights` from a `Precision`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store.hostcache import HostCache
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.manifest import Checkpoint


def weights_of(
    checkpoint: Checkpoint,
    make: Callable[[Any], nn.Module],
    device: torch.device,
    form: Precision,
    host: HostCache | None = None,
) -> Weights:
    """The checkpoint in this form, not loaded yet. A form names all that computes: the Scribe's encoder multiplies in
    the dtype of the weights if it names no other."""
    product = torch_dtype(form.product or form.dtype)
    return Weights(checkpoint, make, device, torch_dtype(form.dtype), host, bits=form.bits, product=product)


def torch_dtype(name: str) -> torch.dtype:
    """The dtype with this name, such as `float32`."""
    found: torch.dtype = getattr(torch, name)
    return found
