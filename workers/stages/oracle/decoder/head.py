"""The last product of a decoder: in half precision its likeliest logits are computed again, in float32.

bfloat16 has 8 bits: logits near 20 lie 0.125 apart, and the best two are often equal where float32 knows which it is.
"""

from typing import Any

import torch

from golem_chain.workers.stages.likeliest import likeliest
from golem_chain.workers.store.packed.dense import embed, project

#: Logits of each row that are computed again: as many as a step samples from with the usual top k.
EXACT = 64


def logits_of(head: Any, normed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(n, width) → (n, vocabulary) float32. `head` is a linear layer without bias whose rows run in `dtype`; `normed`
    are hidden states after the last norm, not rounded: float32."""
    found = project(head, normed.to(dtype)).float()
    if dtype == torch.float32:
        return found
    near = likeliest(found, min(EXACT, found.shape[1]))
    exact = embed(head, near, torch.float32).mul_(normed[:, None]).sum(-1)  # for 16 rows a fifth of a product's time
    return found.scatter_(1, near, exact)
