"""Token times from cross-attention: a decoder pass over a known text that computes the weights of the alignment heads
explicitly. (`decoder.py` uses torch's fused attention, which does not return weights.)"""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.stages.scribe.whisper.decoder import Cross, split
from golem_chain.workers.stages.scribe.whisper.timing import FRAME_S, TokenTime, first_frames, smooth
from golem_chain.workers.stages.transformers_types import ModelConfig
from golem_chain.workers.store.packed.dense import embed, project

#: Heads of the decoder as (layer, head) pairs.
Heads = tuple[tuple[int, int], ...]


def heads_of(generation: Any, config: ModelConfig) -> Heads:
    """The alignment heads: those in the generation config, otherwise all heads in the second half of the layers, as in
    openai/whisper."""
    named = getattr(generation, "alignment_heads", None)
    if named:
        return tuple((int(layer), int(head)) for layer, head in named)
    layers = range(config.decoder_layers // 2, config.decoder_layers)
    return tuple((layer, head) for layer in layers for head in range(config.decoder_attention_heads))


@torch.inference_mode()
def align(
    model: nn.Module, cross: Cross, prompt: Sequence[int], text: Sequence[int], end: int, heads: Heads, frames: int
) -> list[TokenTime]:
    """The time of each token of a text in one window. `cross`: its keys and values, (1, heads, frames, head width);
    `prompt`: <|startoftranscript|> to <|notimestamps|>; `end`: <|endoftext|>; `frames`: number of encoder frames that
    are not padding."""
    if not text:
        return []
    body = cast(Any, model).model.decoder
    tokens = torch.tensor([[*prompt, *text, end]], device=cross[0][0].device)
    hidden = embed(body.embed_tokens, tokens) + body.embed_positions.weight[: tokens.shape[1]]
    matrix = np.zeros((len(text) + 1, frames), np.float32)
    for n, layer in enumerate(body.layers):
        own, other = layer.self_attn, layer.encoder_attn
        normed = layer.self_attn_layer_norm(hidden)
        past = (split(own.k_proj(normed), own.num_heads), split(own.v_proj(normed), own.num_heads))
        hidden = hidden + _attend(own, _query(own, normed), *past, causal=True)
        query = _query(other, layer.encoder_attn_layer_norm(hidden))
        for head in (head for at, head in heads if at == n):
            matrix += _seen(query[0, head], cross[n][0][0, head, :frames])[len(prompt) - 1 : -1]
        hidden = hidden + _attend(other, query, *cross[n], causal=False)
        hidden = hidden + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden))))
    writing = body.layer_norm(hidden[0, len(prompt) - 1 : -2])  # the position that predicts each token
    logits = project(cast(Any, model).proj_out, writing).float()[:, :end]
    chosen = torch.tensor(text, device=logits.device)[:, None]
    probs: list[float] = logits.softmax(-1).gather(1, chosen)[:, 0].tolist()
    starts = first_frames(-matrix) * FRAME_S
    return [TokenTime(float(starts[n]), float(starts[n + 1]), probs[n]) for n in range(len(text))]


def _query(attention: Any, normed: torch.Tensor) -> torch.Tensor:
    return split(attention.q_proj(normed) * attention.scaling, attention.num_heads)


def _attend(
    attention: Any, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, causal: bool
) -> torch.Tensor:
    mixed = F.scaled_dot_product_attention(query, keys, values, is_causal=causal, scale=1.0)
    return cast(torch.Tensor, attention.out_proj(mixed.transpose(1, 2).flatten(2)))


def _seen(query: torch.Tensor, keys: torch.Tensor) -> np.ndarray:
    """One head's attention, (tokens, frames): normalised over the tokens, so that frames to which all tokens attend
    carry no weight, and smoothed."""
    weights = (query.float() @ keys.float().T).softmax(-1)
    spread, mean = torch.std_mean(weights, dim=0, keepdim=True, unbiased=False)
    return smooth(((weights - mean) / spread.clamp(min=math.ulp(1.0))).cpu().numpy())
