"""Converts any source format to that of the store: config, tokenizer, and one safetensors file in the dtype that runs.

The format follows from the file names: `model.safetensors` (or shards), `pytorch_model.bin` (or shards), CTranslate2's
`model.bin` (or its parts), or a `.gguf`. Pickles are read only with torch's `weights_only` loader.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.shared.json_object import JsonObject
from golem_chain.workers.store.formats.reader import map_file
from golem_chain.workers.store.formats.safetensors_files import Planned, map_tensors, write_tensors

WEIGHTS = "model.safetensors"

#: The files, other than weights, that tokenizers, feature extractors and config loaders read.
SIDE_FILES = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "normalizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "chat_template.jinja",
    "chat_template.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
)  # fmt: skip

_PART = re.compile(r"model\.bin\.part(\d+)")
_SHARD = re.compile(r"[\w.-]+\.(safetensors|bin)")


def weight_files(names: "set[str]", read_index: Callable[[str], JsonObject]) -> list[str]:
    """The weight files among the files of a folder or repository, in the best format available; empty if there are
    none. `read_index` returns the JSON of an index file. Raises ModelCorrupt for an invalid index."""
    for whole, index in (
        (WEIGHTS, f"{WEIGHTS}.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ):
        if whole in names:
            return [whole]
        if index in names:
            shards = read_index(index).get("weight_map")
            if not isinstance(shards, dict) or not all(_SHARD.fullmatch(str(shard)) for shard in shards.values()):
                raise ModelCorrupt(f"{index} is not an index of weight files.")
            return sorted({str(shard) for shard in shards.values()})
    if "model.bin" in names:
        return ["model.bin"]
    parts = sorted((name for name in names if _PART.fullmatch(name)), key=lambda name: int(name.rsplit("part")[-1]))
    return parts or sorted(name for name in names if name.endswith(".gguf"))[:1]


def has_blocks(source: Path) -> bool:
    """Whether the weights in `source` may be packed blocks, so that `convert` can keep them."""
    names = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    return any(name.endswith(".gguf") for name in weight_files(names, lambda name: read_json(source / name)))


def convert(
    source: Path, target: Path, dtype: torch.dtype, report: Callable[[int, int], None], *, packed: bool = False
) -> tuple[str, str]:
    """Convert the files in `source` to the store's format; return the source format and the source dtype. `packed`:
    what the source has in packed blocks stays so, to the bit; everything else is converted.

    `report` gets the bytes written so far and the total. Raises ModelCorrupt if the source cannot be used.
    """
    names = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    weights = weight_files(names, lambda name: read_json(source / name))
    if not weights:
        raise ModelCorrupt(f"{source.name} has no weights: neither safetensors, .bin nor .gguf.")
    if weights[0].endswith(".gguf"):
        planned, kind = _from_gguf(source / weights[0], target, packed), "GGUF"
    elif weights[0].startswith("model.bin"):
        planned, kind = _from_ctranslate2([source / name for name in weights], target), "CTranslate2"
    else:
        _copy_side_files(source, target, names)
        by_bin = weights[0].endswith(".bin")
        planned, kind = _from_torch([source / name for name in weights]), "PyTorch" if by_bin else "safetensors"
    floats = {
        str(tensor.dtype).removeprefix("torch.")
        for tensor in planned
        if tensor.dtype.is_floating_point and not tensor.as_is
    }
    total, done = sum(tensor.nbytes(dtype) for tensor in planned), 0

    def wrote(count: int) -> None:
        nonlocal done
        done += count
        report(min(done, total), total)

    write_tensors(target / WEIGHTS, planned, dtype, wrote)
    return kind, "+".join(sorted(floats))


def read_json(path: Path) -> JsonObject:
    """Read a JSON object from a file. Raises ModelCorrupt."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelCorrupt(f"{path.name} is missing or is not a JSON object.")
    return value


def _copy_side_files(source: Path, target: Path, names: "set[str]") -> None:
    config = read_json(source / "config.json")
    if "quantization_config" in config:
        raise ModelCorrupt(f"{source.name} has quantised weights, which are not supported: use the full checkpoint.")
    for name in names & set(SIDE_FILES):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def _from_torch(paths: list[Path]) -> list[Planned]:
    """Read safetensors, or .bin with the loader that runs no code. Tensors that share memory are kept once."""
    tensors: dict[str, torch.Tensor] = {}
    for path in paths:
        tensors |= map_tensors(path, touch=False) if path.suffix == ".safetensors" else _read_bin(path)
    planned: list[Planned] = []
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        planned.append(Planned.of(name, tensor))
    return planned


def _read_bin(path: Path) -> dict[str, torch.Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # noqa: BLE001 - malformed archives raise many types
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)  # the format before zip cannot be mapped
        except Exception:  # noqa: BLE001
            raise ModelCorrupt(f"{path.name} is not a weight file, or contains more than weights.") from None
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(t, torch.Tensor) for t in loaded.values()):
        raise ModelCorrupt(f"{path.name} is not a plain dictionary of weights.")
    return {str(name): tensor for name, tensor in loaded.items()}


def _from_ctranslate2(paths: list[Path], target: Path) -> list[Planned]:
    from golem_chain.workers.store.formats.ctranslate2 import whisper
    from golem_chain.workers.store.formats.whisper_files import whisper_files

    first = paths[0]
    data = map_file(first) if len(paths) == 1 else bytearray().join(path.read_bytes() for path in paths)
    planned, shape = whisper(data, first.name)
    folder = first.parent
    files = whisper_files(shape, read_json(folder / "config.json"), read_json(folder / "tokenizer.json"), first.name)
    for name, text in files.items():
        (target / name).write_text(text, encoding="utf-8")
    return planned


def _from_gguf(path: Path, target: Path, packed: bool) -> list[Planned]:
    from golem_chain.workers.store.formats.gguf import parse
    from golem_chain.workers.store.formats.llama import llama, token_ids, tokenizer_files

    gguf = parse(map_file(path), path.name)
    planned, config = llama(gguf, packed=packed)
    files = {"config.json": json.dumps(config, indent=1), "generation_config.json": json.dumps(token_ids(gguf))}
    for name, text in (files | tokenizer_files(gguf)).items():
        (target / name).write_text(text, encoding="utf-8")
    return planned


__all__ = ["SIDE_FILES", "WEIGHTS", "convert", "has_blocks", "read_json", "weight_files"]
