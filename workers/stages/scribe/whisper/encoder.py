"""Whisper's encoder with bfloat16 products for CPUs that are fast at it, optionally over less than 30 s.

The residual stream stays float32 and the matrix products are bfloat16; with a float32 decoder the words are the same.
It uses the modules of transformers' WhisperForConditionalGeneration. Architecture: Radford et al., "Robust Speech
Recognition via Large-Scale Weak Supervision", arXiv 2212.04356.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.devices.cpu import fast_at_bfloat16

#: Queries per attention block. Their scores, 375 × 1500 numbers of 2 bytes, fit into a core's cache: 16 ms per layer
#: instead of 40 with torch's `scaled_dot_product_attention` (bfloat16, one core, torch 2.13).
_QUERIES = 375


def product_of(weights: torch.dtype, device: torch.device, asked: str, flags: frozenset[str]) -> torch.dtype:
    """The dtype of the encoder's matrix products: bfloat16 for float32 weights on a CPU whose `flags` include bfloat16
    instructions, unless GOLEM_DTYPE (`asked`) names a dtype; otherwise that of the weights. Pure."""
    fast = asked in ("auto", "fast") and device.type == "cpu" and fast_at_bfloat16(flags)
    return torch.bfloat16 if fast and weights == torch.float32 else weights


@torch.inference_mode()
def encode(model: nn.Module, features: torch.Tensor, product: torch.dtype) -> torch.Tensor:
    """Encode features (batch, mels, frames), with any even number of frames up to the model's, to (batch, frames / 2,
    width) in the dtype of the weights. `product` is the dtype of the matrix products; convolutions run in float32
    instead of float16."""
    body = cast(Any, model).model.encoder
    weight: torch.Tensor = body.conv1.weight
    features = features.to(weight.device)
    whole = product == weight.dtype and features.shape[2] == 2 * body.embed_positions.weight.shape[0]
    if whole and product != torch.float16:
        return cast(torch.Tensor, body(features.to(weight.dtype)).last_hidden_state)
    seen = _convolve(body, features, product)
    positions = body.embed_positions.weight[: seen.shape[2]]
    hidden = seen.transpose(1, 2).to(weight.dtype) + positions
    if whole:
        for layer in body.layers:
            hidden = layer(hidden, None)
        return cast(torch.Tensor, body.layer_norm(hidden))
    for layer in body.layers:
        run = _layer(layer, product)
        for window in hidden:  # one at a time: the data of one window fits into the cache
            run(window)
    return cast(torch.Tensor, body.layer_norm(hidden))


def _convolve(body: Any, features: torch.Tensor, product: torch.dtype) -> torch.Tensor:
    """The two convolutions: (batch, width, frames / 2). cuDNN's give NaN in float16 on cards with TU116 and TU117
    (GeForce GTX 16xx; pytorch issue 58123), and they are 1 to 5 % of the arithmetic."""
    dtype = torch.float32 if product == torch.float16 else product
    seen = features.to(dtype)
    for conv in (body.conv1, body.conv2):
        seen = F.gelu(F.conv1d(seen, conv.weight.to(dtype), conv.bias.to(dtype), conv.stride, conv.padding))
    return seen


def _layer(layer: Any, product: torch.dtype) -> Callable[[torch.Tensor], None]:
    """A function that applies one layer to a window (frames, width) in place. The weights are converted here, once for
    all windows: that costs 1 % of the arithmetic, and no second copy stays in memory."""
    attention = layer.self_attn
    heads: int = attention.num_heads
    query, key, value = (_linear(part, product) for part in (attention.q_proj, attention.k_proj, attention.v_proj))
    out, first, second = (_linear(part, product) for part in (attention.out_proj, layer.fc1, layer.fc2))

    def run(window: torch.Tensor) -> None:
        normed = layer.self_attn_layer_norm(window).to(product)
        window += out(_attend(query(normed) * attention.scaling, key(normed), value(normed), heads))
        normed = layer.final_layer_norm(window).to(product)
        window += second(layer.activation_fn(first(normed)))

    return run


def _linear(module: Any, product: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = module.weight.to(product)
    bias = None if module.bias is None else module.bias.to(product)
    return lambda states: F.linear(states, weight, bias)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Self-attention over all frames; query (already scaled), key and value are (frames, width)."""
    frames, width = query.shape
    size = width // heads
    mixed = torch.empty_like(query)
    scores, shares = (query.new_empty(min(_QUERIES, frames), frames) for _ in range(2))
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        keys, values = key[:, own].t(), value[:, own]
        for at in range(0, frames, _QUERIES):
            asked = query[at : at + _QUERIES, own]
            raw, share = scores[: len(asked)], shares[: len(asked)]
            torch.mm(asked, keys, out=raw)
            torch.softmax(raw, -1, out=share)
            mixed[at : at + _QUERIES, own] = share @ values
    return mixed
