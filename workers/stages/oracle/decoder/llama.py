"""Models of LLaMA's architecture (Touvron et al. 2023), with grouped keys, and with biases or without: Llama, Mistral,
Qwen2. Rotary positions (Su et al., "RoFormer", 2021) are those of the model's own module."""

from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.stages.oracle.decoder.attention import Memory
from golem_chain.workers.stages.oracle.decoder.cache import Shape
from golem_chain.workers.stages.oracle.decoder.head import logits_of
from golem_chain.workers.stages.oracle.decoder.products import add_product, residual
from golem_chain.workers.store.packed.dense import embed, project

_CLASSES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
#: Rotary scalings whose frequencies do not depend on the length of the text.
_FIXED = ("default", "linear", "llama3", "yarn")


def fits(model: Any, longest: int) -> bool:
    """Whether texts of at most so many tokens can be computed here."""
    config = model.config
    if type(model).__name__ not in _CLASSES or config.hidden_act != "silu":
        return False
    sliding = getattr(config, "sliding_window", None) and "sliding_attention" in (
        getattr(config, "layer_types", None) or ("sliding_attention",)
    )
    return model.model.rotary_emb.rope_type in _FIXED and not (sliding and config.sliding_window < longest)


class Llama:
    """The forward pass: token ids and positions to logits."""

    def __init__(self, model: Any) -> None:
        self.model = model
        config, first = model.config, model.model.layers[0].self_attn
        self.heads, self.width, self.scale = config.num_attention_heads, first.head_dim, first.scaling
        self.shape = Shape(config.num_hidden_layers, config.num_key_value_heads, first.head_dim)
        self.vocabulary = int(config.vocab_size)
        self._cos = self._sin = torch.empty(0)

    def prepare(self, length: int, dtype: torch.dtype, device: torch.device) -> None:
        """Compute the rotations of positions below `length`, (length, 1, width) each. Those of the first half of a
        head's width are negative sines, so that a rotation is a product and a sum."""
        if len(self._cos) >= length and self._cos.dtype == dtype:
            return
        positions = torch.arange(length, device=device)[None]
        cos, sin = self.model.model.rotary_emb(torch.empty(0, dtype=dtype, device=device), positions)
        half = self.width // 2
        self._cos = cos[0][:, None]
        self._sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], 1)[:, None]

    def hidden(self, ids: torch.Tensor, positions: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Hidden states (n, width) for ids and positions, (n,) int64 each, before the last norm."""
        body = self.model.model
        rows = residual(embed(body.embed_tokens, ids))
        cos, sin = self._cos[positions], self._sin[positions]
        key_heads, width = self.shape.heads, self.width
        for number, layer in enumerate(body.layers):
            attention, mlp = layer.self_attn, layer.mlp
            normed = _normed(layer.input_layernorm, rows)
            both = torch.cat([project(attention.q_proj, normed), project(attention.k_proj, normed)], 1)
            both = both.view(len(rows), -1, width)
            both = torch.addcmul(both * cos, both.roll(width // 2, -1), sin)
            values = project(attention.v_proj, normed).view(-1, key_heads, width)
            queries, keys = both[:, : self.heads], both[:, self.heads :]
            found = memory.attend(number, queries, keys, values, self.scale)
            rows = add_product(rows, attention.o_proj, found)
            normed = _normed(layer.post_attention_layernorm, rows)
            inner = F.silu(project(mlp.gate_proj, normed), inplace=True).mul_(project(mlp.up_proj, normed))
            rows = add_product(rows, mlp.down_proj, inner)
        return rows

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(n, width) → (n, vocabulary) float32."""
        norm = self.model.model.norm
        normed = F.rms_norm(hidden.float(), norm.weight.shape, None, norm.variance_epsilon) * norm.weight
        return logits_of(self.model.lm_head, normed, norm.weight.dtype)


def _normed(norm: Any, rows: torch.Tensor) -> torch.Tensor:
    weight = norm.weight
    if rows.dtype == weight.dtype:
        return F.rms_norm(rows, weight.shape, weight, norm.variance_epsilon)
    return F.rms_norm(rows, weight.shape, None, norm.variance_epsilon).mul_(weight).to(weight.dtype)
