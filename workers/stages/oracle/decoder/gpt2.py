"""Models of GPT-2's architecture (Radford et al. 2019), such as distilgpt2."""

from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.stages.oracle.decoder.attention import Memory
from golem_chain.workers.stages.oracle.decoder.cache import Shape
from golem_chain.workers.stages.oracle.decoder.head import logits_of
from golem_chain.workers.stages.oracle.decoder.products import add_product, residual
from golem_chain.workers.store.packed.dense import embed, project


def fits(model: Any, longest: int) -> bool:
    """Whether texts of at most so many tokens can be computed here."""
    config = model.config
    return type(model).__name__ == "GPT2LMHeadModel" and not config.add_cross_attention and longest > 0


class Gpt2:
    """The forward pass: token ids and positions to logits."""

    def __init__(self, model: Any) -> None:
        self.model = model
        config = model.config
        self.heads, self.width = config.n_head, config.n_embd // config.n_head
        self.shape = Shape(config.n_layer, config.n_head, self.width)
        self.vocabulary = int(config.vocab_size)

    def prepare(self, length: int, dtype: torch.dtype, device: torch.device) -> None:
        """Nothing: positions are embedded."""

    def hidden(self, ids: torch.Tensor, positions: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Hidden states (n, width) for ids and positions, (n,) int64 each, before the last norm."""
        body = self.model.transformer
        rows = residual(embed(body.wte, ids)) + embed(body.wpe, positions)
        for number, block in enumerate(body.h):
            packed = project(block.attn.c_attn, _normed(block.ln_1, rows)).view(len(rows), 3, self.heads, self.width)
            found = memory.attend(number, packed[:, 0], packed[:, 1], packed[:, 2], block.attn.scaling)
            rows = add_product(rows, block.attn.c_proj, found)
            inner = block.mlp.act(project(block.mlp.c_fc, _normed(block.ln_2, rows)))
            rows = add_product(rows, block.mlp.c_proj, inner)
        return rows

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(n, width) → (n, vocabulary) float32."""
        norm = self.model.transformer.ln_f
        normed = F.layer_norm(hidden.float(), norm.normalized_shape, eps=norm.eps) * norm.weight + norm.bias
        return logits_of(self.model.lm_head, normed, norm.weight.dtype)


def _normed(norm: Any, rows: torch.Tensor) -> torch.Tensor:
    weight = norm.weight
    if rows.dtype == weight.dtype:
        return F.layer_norm(rows, norm.normalized_shape, weight, norm.bias, norm.eps)
    found = F.layer_norm(rows, norm.normalized_shape, eps=norm.eps).mul_(weight).add_(norm.bias)
    return found.to(weight.dtype)
