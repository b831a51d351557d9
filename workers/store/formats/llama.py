"""Converts a Llama in a GGUF file to tensors, config, tokenizer and chat template with transformers' names."""

import json
import re
from functools import partial

import torch

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.workers.store.formats.gguf import Gguf
from golem_chain.workers.store.formats.safetensors_files import Planned
from golem_chain.workers.store.packed.blocks import Packed, of_gguf
from golem_chain.workers.store.packed.files import planned as planned_parts

_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_RECOMPUTED = "rope_freqs.weight"  # llama.cpp's copy of what follows from the config
_CONTROL, _USER_DEFINED = 3, 4  # token types that are matched before the text is split


def llama(gguf: Gguf, *, packed: bool = False) -> tuple[list[Planned], dict[str, object]]:
    """The tensors (float32) and config.json. `packed`: large matrices keep their packed blocks. Raises ModelCorrupt for
    another architecture or missing parts."""
    if gguf.fields.get("general.architecture") != "llama":
        raise gguf.corrupt(f"its architecture is {str(gguf.fields.get('general.architecture'))[:40]!r}, not llama")
    if any(key.startswith("llama.rope.scaling.") for key in gguf.fields):
        raise gguf.corrupt("scaled rotary positions are not supported")
    heads = gguf.field("llama.attention.head_count", int)
    kv_heads = gguf.field("llama.attention.head_count_kv", int, heads)
    if min(heads, kv_heads) < 1:
        raise gguf.corrupt("it has no attention heads")
    tensors = []
    for name, stored in gguf.stored.items():
        if name == _RECOMPUTED:
            continue
        permuted = heads if ".attn_q." in name else kv_heads if ".attn_k." in name else 0
        if permuted and stored.shape[0] % (2 * permuted):
            raise gguf.corrupt(f"{name} has shape {list(stored.shape)}, which {permuted} heads do not divide")
        kind = gguf.packed_kind(name) if packed else None
        if kind:
            matrix = stored.shape[0], stored.shape[1]
            tensors += planned_parts(_rename(gguf, name), kind, matrix, False, partial(_packed, gguf, name, permuted))
            continue
        tensors.append(
            Planned(_rename(gguf, name), stored.shape, torch.float32, partial(_tensor, gguf, name, permuted))
        )
    layers = gguf.field("llama.block_count", int)
    if layers > len(gguf.stored):  # before they are named one by one
        raise gguf.corrupt(f"it claims {layers} layers, more than it has tensors")
    wanted = {*list(_OUTSIDE)[:2], *(f"blk.{layer}.{part}.weight" for layer in range(layers) for part in _INSIDE)}
    missing = sorted(wanted - gguf.stored.keys())
    if missing:
        raise gguf.corrupt(f"{', '.join(missing[:3])} are missing")
    return tensors, {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": gguf.field("llama.embedding_length", int),
        "intermediate_size": gguf.field("llama.feed_forward_length", int),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": gguf.field("llama.context_length", int),
        "rms_norm_eps": gguf.field("llama.attention.layer_norm_rms_epsilon", float),
        "rope_theta": gguf.field("llama.rope.freq_base", float, 10000.0),
        "vocab_size": gguf.stored["token_embd.weight"].shape[0],
        "tie_word_embeddings": "output.weight" not in gguf.stored,
        "attention_bias": False,
        "mlp_bias": False,
        **token_ids(gguf),
    }


def token_ids(gguf: Gguf) -> dict[str, object]:
    """`bos_token_id`, `eos_token_id` and `pad_token_id`, as far as the file has them."""
    names = {"bos": "bos", "eos": "eos", "pad": "padding"}
    found = {short: gguf.fields.get(f"tokenizer.ggml.{long}_token_id") for short, long in names.items()}
    return {f"{short}_token_id": value for short, value in found.items() if isinstance(value, int)}


def _rename(gguf: Gguf, name: str) -> str:
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if not found or found[2] not in _INSIDE:
        raise gguf.corrupt(f"{name[:80]!r} is not a tensor of a Llama")
    return f"model.layers.{found[1]}.{_INSIDE[found[2]]}.weight"


def _tensor(gguf: Gguf, name: str, heads: int) -> torch.Tensor:
    return _unpermuted(gguf.tensor(name), heads)


def _packed(gguf: Gguf, name: str, heads: int) -> Packed:
    shape = gguf.stored[name].shape
    blocks = gguf.blocks(name)
    by_row = _unpermuted(blocks.view(shape[0], -1), heads)
    return of_gguf(str(gguf.packed_kind(name)), by_row.reshape(blocks.shape), (shape[0], shape[1]))


def _unpermuted(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo llama.cpp's interleaving of the two halves of each rotary head (`permute` in its convert_hf_to_gguf.py), by
    rows; 0 heads: there is none."""
    if not heads:
        return tensor
    rows = tensor.shape[0] // heads // 2
    return tensor.view(heads, rows, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def tokenizer_files(gguf: Gguf) -> dict[str, str]:
    """tokenizer.json and tokenizer_config.json of a byte-level BPE. Raises ModelCorrupt for any other tokenizer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kind = gguf.fields.get("tokenizer.ggml.model")
    split = gguf.fields.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or split not in ("smollm", "gpt-2", "default"):
        raise gguf.corrupt(f"its tokenizer ({kind}, {split}) is not supported; use the safetensors checkpoint")
    tokens, merges = gguf.texts("tokenizer.ggml.tokens"), gguf.texts("tokenizer.ggml.merges")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    try:
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    except Exception as exc:  # noqa: BLE001 - the Rust side raises plain Exception
        raise gguf.corrupt(f"its vocabulary does not match its merges ({exc})") from None
    levels: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if split == "smollm":
        levels.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(levels)
    tokenizer.decoder = decoders.ByteLevel()
    kinds = gguf.fields.get("tokenizer.ggml.token_type", [])
    for token, token_kind in zip(tokens, kinds if isinstance(kinds, list) else [], strict=False):
        if token_kind in (_CONTROL, _USER_DEFINED):
            tokenizer.add_tokens([AddedToken(token, special=token_kind == _CONTROL, normalized=False)])
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": gguf.field("llama.context_length", int),
    }
    for short, long in {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}.items():
        index = gguf.fields.get(f"tokenizer.ggml.{long}_token_id")
        if isinstance(index, int):
            if not 0 <= index < len(tokens):
                raise ModelCorrupt(f"{gguf.name} cannot be converted: token {index} is not in its vocabulary.")
            config[f"{short}_token"] = tokens[index]
    template = gguf.fields.get("tokenizer.chat_template")
    if isinstance(template, str):
        config["chat_template"] = template
    return {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": json.dumps(config, indent=1)}
