"""Whisper's encoder with bfloat16 products for CPUs that are fast at it, optionally over less than 30 s.

Most matrix products are bfloat16. Float32 stay those whose rounding makes most of the error for the time that it saves:
the residual stream, the convolutions, queries, keys and their scores, and the projection behind the attention. It uses
the modules of transformers' WhisperForConditionalGeneration. Architecture: Radford et al., "Robust Speech Recognition
via Large-Scale Weak Supervision", arXiv 2212.04356.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.devices.cpu import fast_at_bfloat16
from golem_chain.workers.devices.products import is_quick, linear
from golem_chain.workers.store.packed.dense import dense

#: Queries per attention block, so that their scores, 250 × 1500 numbers of 4 bytes, stay near a core's cache: 20 ms per
#: layer instead of 40 with torch's `scaled_dot_product_attention` (one core, torch 2.13).
_QUERIES = 250


def product_of(weights: torch.dtype, device: torch.device, asked: str, flags: frozenset[str]) -> torch.dtype:
    """The dtype of the encoder's matrix products: bfloat16 for float32 weights on a CPU whose `flags` include bfloat16
    instructions, unless GOLEM_DTYPE (`asked`) names a dtype; otherwise that of the weights. Pure."""
    fast = asked in ("auto", "fast") and device.type == "cpu" and fast_at_bfloat16(flags)
    return torch.bfloat16 if fast and weights == torch.float32 else weights


@torch.inference_mode()
def encode(model: nn.Module, features: torch.Tensor, product: torch.dtype) -> torch.Tensor:
    """Encode features (batch, mels, frames), with any even number of frames up to the model's, to (batch, frames / 2,
    width) in the dtype of the weights. `product` is the dtype of the matrix products, but for those that stay exact:
    they run in that of the weights, and convolutions in float32 instead of float16 and bfloat16."""
    body = cast(Any, model).model.encoder
    weights: torch.dtype = body.conv1.weight.dtype
    features = features.to(body.conv1.weight.device)
    whole = product == weights and features.shape[2] == 2 * body.embed_positions.weight.shape[0]
    quick = weights == torch.float32 and features.device.type == "cpu" and is_quick()
    if whole and not quick and product != torch.float16:
        return cast(torch.Tensor, body(features.to(weights)).last_hidden_state)
    seen = _convolve(body, features)
    positions = body.embed_positions.weight[: seen.shape[2]]
    hidden = seen.transpose(1, 2).to(weights).contiguous() + positions
    if whole and not quick:
        for layer in body.layers:
            hidden = layer(hidden, None)
        return cast(torch.Tensor, body.layer_norm(hidden))
    for layer in body.layers:
        run = _layer(layer, product)
        for window in hidden:  # one at a time: the data of one window fits into the cache
            run(window)
    return cast(torch.Tensor, body.layer_norm(hidden))


def _convolve(body: Any, features: torch.Tensor) -> torch.Tensor:
    """The two convolutions: float32 (batch, width, frames / 2). cuDNN's give NaN in float16 on cards with TU116 and
    TU117 (GeForce GTX 16xx; pytorch issue 58123), in bfloat16 they are a quarter of the encoder's error, and they are
    1 to 5 % of the arithmetic."""
    convs = [(conv, conv.weight.float(), conv.bias.float()) for conv in (body.conv1, body.conv2)]
    windows = []
    for window in features.float().split(1 if features.device.type == "cpu" else len(features)):
        seen = window
        for conv, weight, bias in convs:
            seen = F.gelu(F.conv1d(seen, weight, bias, conv.stride, conv.padding))
        windows.append(seen)
    return torch.cat(windows)


def _layer(layer: Any, product: torch.dtype) -> Callable[[torch.Tensor], None]:
    """A function that applies one layer to a window (frames, width) in place. The weights are converted here, once for
    all windows: that costs 1 % of the arithmetic, and no second copy stays in memory."""
    attention = layer.self_attn
    heads: int = attention.num_heads
    exact = layer.self_attn_layer_norm.weight.dtype  # that of the weights
    query, key, out = (_linear(part, exact) for part in (attention.q_proj, attention.k_proj, attention.out_proj))
    value, first, second = (_linear(part, product) for part in (attention.v_proj, layer.fc1, layer.fc2))

    def run(window: torch.Tensor) -> None:
        normed = layer.self_attn_layer_norm(window)
        window += out(_attend(query(normed) * attention.scaling, key(normed), value(normed), heads))
        normed = layer.final_layer_norm(window)
        window += second(layer.activation_fn(first(normed)))

    return run


def _linear(module: Any, product: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = dense(module, product)
    bias = None if module.bias is None else module.bias.to(product)
    return lambda states: linear(states.to(product), weight, bias)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Self-attention over all frames; query (already scaled), key and value are (frames, width). The scores have the
    dtype of query and key, the result that of the values."""
    frames, width = query.shape
    size = width // heads
    mixed = torch.empty_like(value)
    shares = query.new_empty(min(_QUERIES, frames), frames)
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        keys, values = key[:, own].contiguous(), value[:, own].t().contiguous()
        for at in range(0, frames, _QUERIES):
            scores = linear(query[at : at + _QUERIES, own], keys)
            share = torch.softmax(scores, -1, out=shares[: len(scores)])
            mixed[at : at + _QUERIES, own] = linear(share.to(value.dtype), values)
    return mixed
