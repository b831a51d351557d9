"""A load equals from_pretrained, an unload leaves nothing, and a tampered folder is rejected."""

import gc
import json
import os
import struct
import weakref
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from golem_chain.shared.errors import ModelChanged, ModelCorrupt
from golem_chain.workers.store.formats.safetensors_files import map_tensors, read_header, write_tensors
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.skeleton import rename
from tests.support.store_models import (
    ALL,
    bart,
    bert,
    gpt2,
    llama,
    planned,
    refusal,
    replace_weights,
    same_weights,
    stored,
    whisper,
)


@pytest.mark.parametrize("kind", ALL)
def test_a_load_gives_what_from_pretrained_gives(tmp_path, kind):
    model = ALL[kind]()
    weights = Weights(stored(tmp_path, kind, model), type(model))
    loaded: Any = weights.load()
    theirs = type(model).from_pretrained(tmp_path / "source")
    assert same_weights(loaded, theirs)
    assert not loaded.training
    buffers = dict(loaded.named_buffers())
    assert all(torch.equal(buffers[name], value) for name, value in theirs.named_buffers())
    unique = {id(p): p for p in loaded.parameters()}.values()
    persistent = [b for name, b in loaded.named_buffers() if name in loaded.state_dict()]
    assert weights.nbytes == sum(t.nbytes for t in [*unique, *persistent])
    if hasattr(theirs, "generation_config"):
        assert loaded.generation_config.to_dict() == theirs.generation_config.to_dict() | {
            "transformers_version": loaded.generation_config.transformers_version
        }


@pytest.mark.parametrize("kind", ALL)
def test_after_an_unload_no_weight_is_alive_and_the_next_load_is_whole(tmp_path, kind):
    weights = Weights(stored(tmp_path, kind), type(ALL[kind]()))
    model = weights.load()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    alive: list[weakref.ref[Any]] = [weakref.ref(p) for p in model.parameters()]
    alive += [weakref.ref(p.untyped_storage()) for p in model.parameters()]
    weights.unload()
    weights.unload()  # safe to repeat

    gc.collect()
    assert not [ref for ref in alive if ref() is not None]
    assert all(p.is_meta for p in model.parameters())
    again = weights.load()
    assert again is model
    assert all(torch.equal(again.state_dict()[name], value) for name, value in before.items())


def test_tied_weights_are_one_tensor(tmp_path):
    model: Any = Weights(stored(tmp_path, "gpt2"), type(gpt2())).load()
    assert model.lm_head.weight is model.transformer.wte.weight


def test_half_precision_on_disk_runs_in_full_on_a_cpu(tmp_path):
    model = whisper()
    weights = Weights(stored(tmp_path, "whisper", model, "float16"), type(model), dtype=torch.float32)
    assert weights.checkpoint.dtype == "float16"
    loaded: Any = weights.load()
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.proj_out.weight, model.proj_out.weight.half().float())
    assert weights.nbytes == sum(p.nbytes for p in loaded.parameters())


def test_rotary_frequencies_stay_in_full_precision(tmp_path):
    loaded: Any = Weights(stored(tmp_path, "llama", dtype="bfloat16"), type(llama()), dtype=torch.bfloat16).load()
    assert loaded.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(loaded.model.rotary_emb.inv_freq, llama().model.rotary_emb.inv_freq)


def test_a_file_of_the_bare_model_fills_the_model_with_a_head(tmp_path):
    model = gpt2()
    weights = Weights(stored(tmp_path, "gpt2", model.transformer), type(model))
    assert same_weights(weights.load(), model)


def test_an_encoder_is_filled_from_a_file_with_a_head(tmp_path):
    import transformers

    whole = transformers.BertForSequenceClassification(bert().config).eval()
    loaded = Weights(stored(tmp_path, "bert", whole), transformers.BertModel).load()
    assert same_weights(loaded, whole.bert)


def test_names_are_matched_with_and_without_the_prefix():
    assert rename(["h.0.w"], {"t.h.0.w"}, "t") == {"h.0.w": "t.h.0.w"}
    assert rename(["t.h.0.w"], {"h.0.w"}, "t") == {"t.h.0.w": "h.0.w"}
    assert rename(["n.gamma", "n.beta"], {"n.weight", "n.bias"}, "") == {"n.gamma": "n.weight", "n.beta": "n.bias"}
    assert rename(["stranger"], {"n.weight"}, "t") == {"stranger": "stranger"}


def test_building_a_skeleton_leaves_the_random_numbers_alone(tmp_path):
    weights = Weights(stored(tmp_path, "bart"), type(bart()))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    weights.build()
    assert torch.equal(torch.rand(1), expected)


# -- tampering -----------------------------------------------------------------------------------------------------


def test_missing_left_over_and_misshapen_tensors_are_named_three_at_most(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    tensors = {name: t.clone() for name, t in map_tensors(checkpoint.weight_files[0]).items()}
    for n in range(4):
        tensors[f"transformer.h.7.extra{n}"] = torch.zeros(1)
    tensors["transformer.wpe.weight"] = torch.zeros(3, 8)
    del tensors["transformer.ln_f.bias"]
    weights = Weights(replace_weights(checkpoint, tensors), type(gpt2()))
    with pytest.raises(ModelCorrupt) as caught:
        weights.load()
    assert "missing: transformer.ln_f.bias;" in caught.value.message
    assert "transformer.wpe.weight [3, 8] instead of [32, 8]" in caught.value.message
    assert "extra2 and 1 more" in caught.value.message
    assert all(p.is_meta for p in weights.build().model.parameters())


def test_another_architecture_in_the_folder_is_refused(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    tensors = {name: t.clone() for name, t in bert().state_dict().items()}
    with pytest.raises(ModelCorrupt, match=r"does not match the GPT2LMHeadModel of its config\.json: missing: "):
        Weights(replace_weights(checkpoint, tensors), type(gpt2())).load()


def test_a_truncated_file_is_refused_before_it_is_mapped(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    weights = Weights(checkpoint, type(gpt2()))
    weights.load()
    weights.unload()
    os.truncate(checkpoint.weight_files[0], checkpoint.weight_files[0].stat().st_size - 100)
    with pytest.raises(ModelCorrupt, match="should have"):
        weights.load()


def test_a_flipped_bit_is_refused_at_the_load(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    with checkpoint.weight_files[0].open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(ModelCorrupt, match="was altered since it was pulled"):
        Weights(checkpoint, type(gpt2())).load()


def test_a_copied_store_is_hashed_and_works(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    for name in checkpoint.files:
        os.utime(checkpoint.folder / name)
    assert same_weights(Weights(checkpoint, type(gpt2())).load(), gpt2())


def test_a_vanished_file_and_a_ruined_config_are_refused(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    (checkpoint.folder / "config.json").write_text("{")
    with pytest.raises(ModelCorrupt, match=r"config\.json is not a usable configuration"):
        _ = Weights(checkpoint, type(gpt2())).config
    checkpoint.weight_files[0].unlink()
    with pytest.raises(ModelCorrupt, match="is missing"):
        _ = Weights(checkpoint, type(gpt2())).nbytes


# -- the file format -----------------------------------------------------------------------------------------------


def test_what_we_write_is_read_by_the_reference_and_whole_cache_lines_begin_on_one(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"x": torch.randn(3, 5), "long": torch.arange(4), "none": torch.zeros(0, 2), "one": torch.tensor(2.0)}
    tensors["whole"] = torch.randn(4, 8)
    write_tensors(path, planned(tensors), torch.float16)
    with safe_open(path, "pt") as file:
        assert torch.equal(file.get_tensor("x"), tensors["x"].half())
        assert torch.equal(file.get_tensor("long"), tensors["long"])
        assert set(file.keys()) == {*tensors}
        assert file.metadata() == {"format": "pt"}
    assert read_header(path)["whole"].start % 64 == 0
    assert map_tensors(path)["none"].shape == (0, 2)


def test_mapped_tensors_are_the_file_and_writing_to_them_is_not(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, planned({"x": torch.ones(2048)}), torch.float32)
    before = path.read_bytes()
    mapped = map_tensors(path)["x"]
    assert mapped.data_ptr() % 64 == 0
    mapped.zero_()
    assert path.read_bytes() == before


def test_a_foreign_unaligned_file_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    header += b" " * (-(len(header) + 8) % 4 + 1)
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1, 2))
    assert map_tensors(path)["x"].tolist() == [1, 2]


@pytest.mark.parametrize("shape", [[0, 2**70], [2**40, 2**40, 0]])
def test_an_empty_tensor_of_a_shape_beyond_all_memory_is_refused(tmp_path, shape):
    path = tmp_path / "a.safetensors"
    header = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert "is not a valid safetensors file: the shape of x is too large" in refusal(map_tensors, path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_a_damaged_safetensors_file_is_read_or_refused_but_never_worse(tmp_path, data):
    path = tmp_path / "a.safetensors"
    write_tensors(path, planned({"x": torch.ones(4), "y": torch.arange(3)}), torch.float32)
    raw = bytearray(path.read_bytes()[: data.draw(st.integers(0, path.stat().st_size))])
    for place in data.draw(st.lists(st.integers(0, max(0, len(raw) - 1)), max_size=4)) if raw else []:
        raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    said = refusal(map_tensors, path)
    assert said is None or "is not a valid safetensors file" in said


def test_a_checkpoint_that_was_pulled_again_with_other_content_is_said_to_have_changed_not_to_be_damaged(tmp_path):
    first = ALL["gpt2"]()
    weights = Weights(stored(tmp_path, "gpt2", first), type(first))
    weights.load()
    weights.unload()
    other = ALL["gpt2"]()
    with torch.no_grad():
        other.transformer.wte.weight += 1
    checkpoint = stored(tmp_path, "gpt2", other)
    with pytest.raises(ModelChanged, match="pulled again") as caught:
        weights.load()
    assert caught.value.retryable
    assert same_weights(Weights(checkpoint, type(other)).load(), other)


def test_a_pull_that_brings_the_same_content_changes_nothing(tmp_path):
    model = ALL["gpt2"]()
    checkpoint = stored(tmp_path, "gpt2", model)
    weights = Weights(checkpoint, type(model))
    (checkpoint.folder / "config.json").unlink()  # damaged, so that it is pulled again
    with pytest.raises(ModelCorrupt, match=r"config\.json is missing"):
        weights.load()
    stored(tmp_path, "gpt2", model)
    assert same_weights(weights.load(), model)


def test_a_file_that_was_altered_without_a_pull_is_still_damage(tmp_path):
    weights = Weights(stored(tmp_path, "gpt2"), type(ALL["gpt2"]()))
    path = weights.folder / "config.json"
    path.write_text(path.read_text().replace("gelu", "relu"))
    with pytest.raises(ModelCorrupt, match="altered"):
        weights.load()


def test_what_runs_is_named(tmp_path):
    checkpoint, make = stored(tmp_path, "gpt2"), type(gpt2())
    assert Weights(checkpoint, make).precision.name == "float32"
    whole = Weights(checkpoint, make, product=torch.float32)
    assert whole.precision.name == "float32"  # a product in the rows' own dtype is no other form
    mixed = Weights(checkpoint, make, product=torch.bfloat16)
    assert mixed.precision.name == "float32 with bfloat16 products"
