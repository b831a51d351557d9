"""Conversions reproduce the source exactly, and malformed bytes raise one named error."""

import json
import struct
from dataclasses import replace

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.workers.store.formats.convert import convert, weight_files
from golem_chain.workers.store.formats.ctranslate2 import read_variables
from golem_chain.workers.store.formats.ctranslate2 import whisper as from_ctranslate2
from golem_chain.workers.store.formats.gguf import parse
from golem_chain.workers.store.formats.llama import llama as from_gguf
from golem_chain.workers.store.formats.llama import tokenizer_files
from golem_chain.workers.store.formats.safetensors_files import map_tensors
from tests.support.store_models import (
    PROJECTION,
    bart,
    ctranslate2_bytes,
    ctranslate2_variables,
    gpt2,
    llama,
    refusal,
    same_weights,
    whisper,
    write_ctranslate2,
    write_gguf,
)

FEW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def converted(source, target, dtype=torch.float32):
    target.mkdir()
    return convert(source, target, dtype, lambda done, total: None)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_ctranslate2_whisper_comes_back_bit_for_bit(tmp_path, parts):
    model = whisper(torch.float16)
    source = write_ctranslate2(tmp_path / "source", model, parts)
    assert converted(source, tmp_path / "out", torch.float16) == ("CTranslate2", "float16")
    again = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "out", dtype=torch.float16)
    assert same_weights(again, model)
    assert again.generation_config.begin_suppress_tokens == [220, 50257]
    assert again.generation_config.alignment_heads == [[1, 0]]


def test_the_files_around_a_whisper_know_languages_tasks_and_times(tmp_path):
    converted(write_ctranslate2(tmp_path / "source", whisper()), tmp_path / "out")
    generation = json.loads((tmp_path / "out/generation_config.json").read_text())
    assert generation["is_multilingual"] is True
    assert len(generation["lang_to_id"]) == 99
    assert generation["lang_to_id"]["<|ru|>"] == 50260
    assert generation["task_to_id"] == {"transcribe": 50359, "translate": 50358}
    processor = transformers.WhisperProcessor.from_pretrained(tmp_path / "out")
    assert processor.tokenizer.convert_tokens_to_ids(["<|0.00|>", "<|30.00|>"]) == [50364, 51864]
    assert processor.feature_extractor.feature_size == 4


def test_a_whisper_with_quantised_weights_is_refused():
    variables = ctranslate2_variables(whisper())
    variables["encoder/conv1/weight"] = torch.zeros(8, 4, 3, dtype=torch.int8)
    with pytest.raises(ModelCorrupt, match="conv1/weight is quantised"):
        from_ctranslate2(bytearray(ctranslate2_bytes(variables, PROJECTION)), "model.bin")


def test_a_whisper_without_a_part_is_refused_by_name():
    variables = ctranslate2_variables(whisper())
    del variables["decoder/layer_1/attention/linear_1/weight"]
    with pytest.raises(ModelCorrupt, match="layer_1/attention/linear_1/weight is missing"):
        from_ctranslate2(bytearray(ctranslate2_bytes(variables, PROJECTION)), "model.bin")


@pytest.fixture(scope="module")
def small_bin():
    tensors = {f"a{n}": torch.arange(n + 1, dtype=torch.float32) for n in range(3)}
    return ctranslate2_bytes(tensors, (("b", "a1"),))


def test_variables_and_aliases_are_read(small_bin):
    found = read_variables(bytearray(small_bin), "model.bin")
    assert found["a2"].tensor.tolist() == [0, 1, 2]
    assert found["b"].tensor.tolist() == [0, 1]


def test_an_empty_ctranslate2_variable_may_have_a_shape_that_no_tensor_has():
    empty, shape = ctranslate2_bytes({"a": torch.zeros(0, 5, 5)}), (0, 2**32 - 1, 2**32 - 1)
    raw = empty.replace(struct.pack("<3I", 0, 5, 5), struct.pack("<3I", *shape))
    assert read_variables(bytearray(raw), "model.bin")["a"].shape == shape


@FEW
@given(data=st.data())
def test_a_damaged_ctranslate2_file_is_read_or_refused_but_never_worse(small_bin, data):
    raw = bytearray(small_bin[: data.draw(st.integers(0, len(small_bin)))])
    for place in data.draw(st.lists(st.integers(0, max(0, len(raw) - 1)), max_size=4)) if raw else []:
        raw[place] = data.draw(st.integers(0, 255))
    said = refusal(read_variables, raw, "model.bin")
    assert said is None or said.startswith("model.bin cannot be read as a model: ")


def test_every_truncation_of_a_ctranslate2_file_is_refused(small_bin):
    for length in range(len(small_bin)):
        with pytest.raises(ModelCorrupt):
            read_variables(bytearray(small_bin[:length]), "model.bin")


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0"])
def test_gguf_blocks_are_unpacked_as_the_reference_unpacks_them(tmp_path, kind):
    kept = write_gguf(tmp_path / "m.gguf", llama(), kind)
    gguf = parse((tmp_path / "m.gguf").read_bytes(), "m.gguf")
    assert gguf.stored.keys() == kept.keys()
    assert all(torch.equal(gguf.tensor(name), tensor) for name, tensor in kept.items())


def test_a_llama_comes_back_from_gguf_with_its_rotary_rows_in_order(tmp_path):
    model = llama()
    (tmp_path / "source").mkdir()
    write_gguf(tmp_path / "source/m.gguf", model, "F32")
    assert converted(tmp_path / "source", tmp_path / "out") == ("GGUF", "float32")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.tensor([[3, 30, 7, 99]])
    assert same_weights(again, model)
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids).logits, rtol=0, atol=0)


def test_the_tokenizer_of_a_gguf_splits_digits_and_knows_its_specials(tmp_path):
    write_gguf(tmp_path / "m.gguf", llama())
    files = tokenizer_files(parse((tmp_path / "m.gguf").read_bytes(), "m.gguf"))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("hi 12<|im_end|>") == ["hi", "Ġ", "1", "2", "<|im_end|>"]
    assert tokenizer.decode(tokenizer.encode("hi é\n12")) == "hi é\n12"
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("</s>", "</s>")
    assert tokenizer.chat_template == "{{ messages[0]['content'] }}"


@pytest.fixture(scope="module")
def small_gguf(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    write_gguf(path, llama())
    return path.read_bytes()


@FEW
@given(data=st.data())
def test_a_damaged_gguf_is_read_or_refused_but_never_worse(small_gguf, data):
    length = data.draw(st.sampled_from([len(small_gguf), data.draw(st.integers(0, len(small_gguf)))]))
    raw = bytearray(small_gguf[:length])
    for place in data.draw(st.lists(st.integers(0, max(0, min(len(raw), 6000) - 1)), max_size=4)) if raw else []:
        raw[place] = data.draw(st.integers(0, 255))

    def read():
        gguf = parse(raw, "m.gguf")
        from_gguf(gguf)
        tokenizer_files(gguf)

    said = refusal(read)
    assert said is None or said.startswith("m.gguf cannot be ")


def test_a_gguf_that_claims_more_layers_than_tensors_is_refused_before_they_are_named(small_gguf):
    gguf = parse(small_gguf, "m.gguf")
    with pytest.raises(ModelCorrupt, match="claims 100000 layers, more than it has tensors"):
        from_gguf(replace(gguf, fields=gguf.fields | {"llama.block_count": 100_000}))


def test_a_bin_is_rewritten_and_shared_weights_are_kept_once(tmp_path):
    model = bart()
    source = tmp_path / "source"
    model.save_pretrained(source)
    (source / "model.safetensors").unlink()
    torch.save(model.state_dict(), source / "pytorch_model.bin")
    assert converted(source, tmp_path / "out") == ("PyTorch", "float32")
    names = [
        name for name in map_tensors(tmp_path / "out/model.safetensors") if "shared" in name or "embed_tok" in name
    ]
    assert len(names) == 1
    assert same_weights(transformers.BartForSequenceClassification.from_pretrained(tmp_path / "out"), model)


def test_a_bin_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    source = tmp_path / "source"
    gpt2().save_pretrained(source)
    (source / "model.safetensors").unlink()
    torch.save({"wte.weight": Trap()}, source / "pytorch_model.bin")
    with pytest.raises(ModelCorrupt, match="contains more than weights"):
        converted(source, tmp_path / "out")
    assert not (tmp_path / "sprung").exists()


def test_shards_become_one_file(tmp_path):
    model = bart()
    model.save_pretrained(tmp_path / "source", max_shard_size="2KB")
    assert not (tmp_path / "source/model.safetensors").exists()
    assert converted(tmp_path / "source", tmp_path / "out") == ("safetensors", "float32")
    assert same_weights(transformers.BartForSequenceClassification.from_pretrained(tmp_path / "out"), model)


def test_quantised_checkpoints_and_folders_without_weights_are_refused(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text('{"quantization_config": {}}')
    with pytest.raises(ModelCorrupt, match="has no weights"):
        converted(source, tmp_path / "a")
    gpt2().save_pretrained(source)
    (source / "config.json").write_text('{"quantization_config": {}}')
    with pytest.raises(ModelCorrupt, match="quantised weights"):
        converted(source, tmp_path / "b")


def test_weights_that_do_not_fit_half_precision_are_refused(tmp_path):
    model = gpt2()
    with torch.no_grad():
        model.transformer.wpe.weight[0, 0] = 1e6
    model.save_pretrained(tmp_path / "source")
    with pytest.raises(ModelCorrupt, match=r"GOLEM_DTYPE=float32"):
        converted(tmp_path / "source", tmp_path / "out", torch.float16)


def test_safetensors_are_taken_before_bin_and_parts_in_their_order():
    def nothing(name):
        raise AssertionError(name)

    assert weight_files({"pytorch_model.bin", "model.safetensors"}, nothing) == ["model.safetensors"]
    parts = {f"model.bin.part{n}" for n in range(1, 12)}
    assert weight_files(parts, nothing)[-1] == "model.bin.part11"
    assert weight_files({"README.md"}, nothing) == []
    with pytest.raises(ModelCorrupt, match="not an index"):
        weight_files({"model.safetensors.index.json"}, lambda name: {"weight_map": {"a": "../../etc/passwd"}})
