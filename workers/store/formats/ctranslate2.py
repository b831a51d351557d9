"""Converts CTranslate2 Whisper checkpoints (`model.bin`) to tensors and configuration with transformers' names.

File layout: see `read_variables`. Variable names: CTranslate2's WhisperSpec,
https://github.com/OpenNMT/CTranslate2/blob/master/python/ctranslate2/specs/whisper_spec.py
"""

import math
import mmap
from dataclasses import dataclass

import torch

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.workers.store.formats.reader import Reader
from golem_chain.workers.store.formats.safetensors_files import Planned

_DTYPES = {0: torch.float32, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.float16}
_MAX_RANK = 8
_GELU = 3  # CTranslate2's ActivationType for the exact GELU
_LARGEST_LAYER = 256

# CTranslate2's name inside a layer -> (attribute in transformers, parts stacked in it)
_SELF = {"self_attention/linear_0": ("self_attn", ("q_proj", "k_proj", "v_proj"))}
_SELF_OUT = {"self_attention/linear_1": ("self_attn", ("out_proj",))}
_CROSS = {
    "attention/linear_0": ("encoder_attn", ("q_proj",)),
    "attention/linear_1": ("encoder_attn", ("k_proj", "v_proj")),
    "attention/linear_2": ("encoder_attn", ("out_proj",)),
}
_FEED = {"ffn/linear_0": ("", ("fc1",)), "ffn/linear_1": ("", ("fc2",))}
_NORMS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
}


@dataclass(frozen=True)
class Variable:
    """An array in the file, as a view of its bytes."""

    shape: tuple[int, ...]
    tensor: torch.Tensor


def read_variables(data: bytes | bytearray | mmap.mmap, name: str) -> dict[str, Variable]:
    """Read the variables by name, with aliases resolved. Raises ModelCorrupt for anything that is not this format.

    Little-endian: uint32 version, text spec (uint16 length with NUL), uint32 revision, uint32 count; for each
    variable text name, uint8 rank, uint32 dimensions, uint8 type, uint32 bytes, data; uint32 count of aliases, each
    text alias and text name.
    """
    reader = Reader(data, name)
    version = reader.number("I")
    if not 4 <= version <= 6:
        raise reader.corrupt(f"version {version} of CTranslate2's format is not supported, only 4 to 6")
    spec = reader.text("H")
    if spec != "WhisperSpec":
        raise reader.corrupt(f"its spec is {spec[:40]!r}, not WhisperSpec")
    reader.number("I")  # revision of the spec
    found: dict[str, Variable] = {}
    for _ in range(reader.number("I")):
        label = reader.text("H")
        if label in found:
            raise reader.corrupt(f"{label} occurs twice")
        found[label] = _variable(reader, label)
    for _ in range(reader.number("I")):
        alias, target = reader.text("H"), reader.text("H")
        if target not in found:
            raise reader.corrupt(f"the alias {alias} points to {target}, which does not exist")
        found[alias] = found[target]
    return found


def _variable(reader: Reader, label: str) -> Variable:
    rank = reader.number("B")
    if rank > _MAX_RANK:
        raise reader.corrupt(f"{label} has {rank} dimensions")
    shape = tuple(reader.number("I") for _ in range(rank))
    code = reader.number("B")
    if code not in _DTYPES:
        raise reader.corrupt(f"{label} has the unknown type {code}")
    size = reader.number("I")
    dtype = _DTYPES[code]
    if size != math.prod(shape) * dtype.itemsize:
        raise reader.corrupt(f"{label} has {size} bytes, which does not match its shape {list(shape)}")
    start = reader.skip(size)
    if size == 0:
        return Variable(shape, torch.empty(0, dtype=dtype))  # torch cannot make every such shape
    if start % dtype.itemsize:
        raw = bytearray(reader.data[start : start + size])
        return Variable(shape, torch.frombuffer(raw, dtype=dtype).view(shape))
    count = size // dtype.itemsize
    return Variable(shape, torch.frombuffer(reader.data, dtype=dtype, count=count, offset=start).view(shape))


def whisper(data: bytearray | mmap.mmap, name: str) -> tuple[list[Planned], dict[str, object]]:
    """The tensors and the architecture part of config.json of a float16 or float32 Whisper, with values unchanged.

    Raises ModelCorrupt. An int8 checkpoint is rejected, since its original weights cannot be restored exactly.
    """
    found = read_variables(data, name)
    used = _Names(found, name)
    tensors: list[Planned] = []
    encoder, decoder = used.layers("encoder"), used.layers("decoder")
    for side, count in (("encoder", encoder), ("decoder", decoder)):
        for layer in range(count):
            tensors += _layer(used, f"{side}/layer_{layer}", f"model.{side}.layers.{layer}")
        tensors += _norm(used, f"{side}/layer_norm", f"model.{side}.layer_norm")
        tensors.append(used.plan(f"{side}/position_encodings/encodings", f"model.{side}.embed_positions.weight", 2))
    for conv in ("conv1", "conv2"):
        tensors.append(used.plan(f"encoder/{conv}/weight", f"model.encoder.{conv}.weight", 3))
        tensors.append(used.plan(f"encoder/{conv}/bias", f"model.encoder.{conv}.bias", 1))
    embedded = used.plan("decoder/embeddings/weight", "model.decoder.embed_tokens.weight", 2)
    tensors.append(embedded)
    projection = used.get("decoder/projection/weight").tensor
    if projection.data_ptr() != found["decoder/embeddings/weight"].tensor.data_ptr():
        raise ModelCorrupt(f"{name} cannot be converted: its output projection is not tied to its embeddings.")
    if used.scalar("decoder/activation", _GELU) != _GELU:
        raise ModelCorrupt(f"{name} cannot be converted: its activation is not the exact GELU of Whisper.")
    width = embedded.shape[1]
    heads = {side: used.scalar(f"{side}/num_heads") for side in ("encoder", "decoder")}
    if any(count < 1 or width % count for count in heads.values()):
        raise ModelCorrupt(f"{name} cannot be converted: its heads {heads} do not divide the width {width}.")
    config: dict[str, object] = {
        "d_model": width,
        "vocab_size": embedded.shape[0],
        "num_mel_bins": used.get("encoder/conv1/weight", 3).shape[1],
        "encoder_layers": encoder,
        "decoder_layers": decoder,
        "num_hidden_layers": encoder,
        "encoder_attention_heads": heads["encoder"],
        "decoder_attention_heads": heads["decoder"],
        "encoder_ffn_dim": used.get("encoder/layer_0/ffn/linear_0/weight", 2).shape[0],
        "decoder_ffn_dim": used.get("decoder/layer_0/ffn/linear_0/weight", 2).shape[0],
        "max_source_positions": used.get("encoder/position_encodings/encodings", 2).shape[0],
        "max_target_positions": used.get("decoder/position_encodings/encodings", 2).shape[0],
    }
    return tensors, config


class _Names:
    """Checked access to the variables of a file by name. Methods raise ModelCorrupt."""

    def __init__(self, found: dict[str, Variable], name: str) -> None:
        self._found = found
        self.name = name

    def get(self, label: str, rank: int | None = None) -> Variable:
        variable = self._found.get(label)
        if variable is None:
            raise ModelCorrupt(f"{self.name} cannot be converted: {label} is missing.")
        if rank is not None and (len(variable.shape) != rank or 0 in variable.shape):
            raise ModelCorrupt(f"{self.name} cannot be converted: {label} has shape {list(variable.shape)}.")
        if rank is not None and not variable.tensor.dtype.is_floating_point:
            raise ModelCorrupt(
                f"{self.name} cannot be converted exactly: {label} is quantised; use a float16 or float32 checkpoint."
            )
        return variable

    def plan(self, label: str, name: str, rank: int) -> Planned:
        return Planned.of(name, self.get(label, rank).tensor)

    def scalar(self, label: str, default: int | None = None) -> int:
        if default is not None and label not in self._found:
            return default
        tensor = self.get(label).tensor
        if tensor.numel() != 1:
            raise ModelCorrupt(f"{self.name} cannot be converted: {label} is not a single number.")
        return int(tensor.item())

    def layers(self, side: str) -> int:
        count = 0
        while f"{side}/layer_{count}/ffn/linear_0/weight" in self._found and count < _LARGEST_LAYER:
            count += 1
        if count == 0:
            raise ModelCorrupt(f"{self.name} cannot be converted: it has no {side} layers.")
        return count


def _layer(used: _Names, source: str, target: str) -> list[Planned]:
    cross = source.startswith("decoder")
    linears = _SELF | _SELF_OUT | (_CROSS if cross else {}) | _FEED
    tensors: list[Planned] = []
    for label, (attribute, parts) in linears.items():
        base = f"{target}.{attribute}" if attribute else target
        for kind, rank in (("weight", 2), ("bias", 1)):
            whole = used.get(f"{source}/{label}/{kind}", rank).tensor
            if whole.shape[0] % len(parts):
                raise ModelCorrupt(f"{used.name} cannot be converted: {source}/{label}/{kind} cannot be split evenly.")
            for part, piece in zip(parts, whole.chunk(len(parts)), strict=True):
                if part == "k_proj" and kind == "bias":  # Whisper's keys have no bias; CTranslate2 stores zeros
                    if piece.any():
                        raise ModelCorrupt(f"{used.name} cannot be converted: its attention keys have a bias.")
                    continue
                tensors.append(Planned.of(f"{base}.{part}.{kind}", piece))
    for label, attribute in _NORMS.items():
        if cross or not label.startswith("attention"):
            tensors += _norm(used, f"{source}/{label}", f"{target}.{attribute}")
    return tensors


def _norm(used: _Names, source: str, target: str) -> list[Planned]:
    return [used.plan(f"{source}/gamma", f"{target}.weight", 1), used.plan(f"{source}/beta", f"{target}.bias", 1)]
