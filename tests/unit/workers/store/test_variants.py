"""Variants of the weights: a load maps them, what is not sound is not used, and making one leaves nothing half done."""

import json
import logging
import os
import shutil
import threading

import pytest
import torch

from golem_chain.shared.errors import BadSetting, ModelCorrupt
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store import manifest, variants
from golem_chain.workers.store.formats.safetensors_files import Planned, map_tensors, read_header, write_tensors
from golem_chain.workers.store.hostcache import HostCopy
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.making import keep_ready, make_variant
from golem_chain.workers.store.packed import modules
from golem_chain.workers.store.packed.dense import dense
from golem_chain.workers.store.packed.files import gather
from tests.support.store_models import ALL, same_weights, stored

FORMS = ["bfloat16", "float16", "float32 8 bit", "bfloat16 8 bit", "bfloat16 4 bit"]


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    monkeypatch.setattr(modules, "LEAST_WEIGHTS", 1)


def made_variant(checkpoint, precision):
    path = make_variant(checkpoint, precision)
    assert path
    return path


def weights_of(checkpoint, kind, form):
    chosen = Precision.parse(form)
    return Weights(checkpoint, type(ALL[kind]()), dtype=getattr(torch, chosen.dtype), bits=chosen.bits)


def everything(weights):
    """All that a load gives, by name."""
    model = weights.load()
    found = dict(model.state_dict())
    for place in weights.build().places:
        found[f"packed {place.names[0]}"] = dense(place.modules[0], torch.float32)
    return found


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("form", FORMS)
def test_a_load_from_a_variant_gives_what_a_conversion_gives(tmp_path, kind, form):
    checkpoint = stored(tmp_path, kind)
    converted = weights_of(checkpoint, kind, form)
    wanted, counted = everything(converted), converted.nbytes
    path = made_variant(checkpoint, Precision.parse(form))
    assert path == variants.find(checkpoint, Precision.parse(form))
    taken = weights_of(checkpoint, kind, form)
    assert same(everything(taken), wanted)
    assert taken.nbytes == counted
    assert make_variant(checkpoint, Precision.parse(form)) == path  # kept


def test_the_form_that_the_store_has_anyway_needs_no_variant(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    assert make_variant(checkpoint, Precision("float32")) is None
    assert make_variant(checkpoint, Precision("float32", product="bfloat16")) is None
    assert variants.held(checkpoint) == {}


def test_the_record_of_the_pull_stays_as_it_is(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    before = (checkpoint.folder / "golem.json").read_bytes()
    make_variant(checkpoint, Precision("bfloat16", 8))
    assert (checkpoint.folder / "golem.json").read_bytes() == before
    assert [*variants.held(checkpoint)] == ["8bit"]


def flip(path):
    with path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def test_an_altered_variant_is_not_used_and_named_once(tmp_path, caplog):
    checkpoint = stored(tmp_path, "gpt2")
    wanted = everything(weights_of(checkpoint, "gpt2", "bfloat16"))
    path = made_variant(checkpoint, Precision("bfloat16"))
    flip(path)
    with caplog.at_level(logging.WARNING):
        assert same(everything(weights_of(checkpoint, "gpt2", "bfloat16")), wanted)
    assert "was altered since it was made: delete it" in caplog.text


@pytest.mark.parametrize("damage", ["truncated", "no record", "no json", "of other weights", "newer"])
def test_a_variant_without_a_sound_record_is_not_there(tmp_path, damage):
    checkpoint = stored(tmp_path, "gpt2")
    path = made_variant(checkpoint, Precision("bfloat16"))
    record = variants.record_of(checkpoint.folder, "bfloat16")
    if damage == "truncated":
        os.truncate(path, path.stat().st_size - 1)
    elif damage == "no record":
        record.unlink()
    elif damage == "no json":
        record.write_text("[")
    else:
        changed = {"of other weights": {"of": "ab"}, "newer": {"format": 99}}[damage]
        record.write_text(json.dumps(json.loads(record.read_text()) | changed))
    assert variants.find(checkpoint, Precision("bfloat16")) is None
    assert make_variant(checkpoint, Precision("bfloat16")) == path  # and it can be made again
    assert variants.find(checkpoint, Precision("bfloat16")) == path


def test_a_variant_with_a_sound_record_and_other_tensors_is_dropped(tmp_path, caplog):
    checkpoint = stored(tmp_path, "gpt2")
    wanted = everything(weights_of(checkpoint, "gpt2", "bfloat16 8 bit"))
    path = made_variant(checkpoint, Precision("bfloat16", 8))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b":int8", b":q8_0"))
    variants.write_record(variants.record_of(checkpoint.folder, "8bit"), checkpoint, manifest.record_file(path))
    with caplog.at_level(logging.WARNING):
        assert same(everything(weights_of(checkpoint, "gpt2", "bfloat16 8 bit")), wanted)
    assert "does not fit together" in caplog.text
    assert not path.exists()


def test_a_pull_takes_the_variants_of_what_it_replaces_along(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    make_variant(checkpoint, Precision("bfloat16"))
    other = ALL["gpt2"]()
    with torch.no_grad():
        other.transformer.wte.weight += 1
    now = stored(tmp_path, "gpt2", other)
    assert variants.held(now) == {}
    assert make_variant(checkpoint, Precision("bfloat16")) is None  # of a checkpoint that is no longer there
    assert variants.held(now) == {}
    assert same_weights(Weights(now, type(other)).load(), other)


def test_two_that_make_the_same_variant_make_one(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(make_variant(checkpoint, Precision("bfloat16", 8))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*made}) == 1
    variants.check(variants.held(checkpoint)["8bit"], whole=True)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    checkpoint = stored(tmp_path, "gpt2")
    before = sorted(path.name for path in checkpoint.folder.iterdir())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(BadSetting, match="the disk has 10 B free"):
        make_variant(checkpoint, Precision("bfloat16", 8))
    assert sorted(path.name for path in checkpoint.folder.iterdir()) == before
    assert not [path for path in (tmp_path / "store").iterdir() if path.name.startswith(".tmp")]


def test_weights_that_overflow_a_dtype_make_no_variant(tmp_path):
    model = ALL["gpt2"]()
    with torch.no_grad():
        model.transformer.wte.weight[0, 0] = 1e6
    checkpoint = stored(tmp_path, "gpt2", model)
    with pytest.raises(ModelCorrupt, match="overflows"):
        make_variant(checkpoint, Precision("float16"))
    assert variants.held(checkpoint) == {}


def test_a_variant_can_be_read_by_the_reference(tmp_path):
    from safetensors import safe_open

    checkpoint = stored(tmp_path, "llama")
    path = made_variant(checkpoint, Precision("bfloat16", 4))
    with safe_open(path, "pt") as file:
        assert {*file.keys()} == {*map_tensors(path)}


@pytest.mark.parametrize("kind", ["llama", "gpt2", "whisper"])
@pytest.mark.parametrize("form", ["bfloat16", "bfloat16 8 bit", "float16 4 bit"])
@pytest.mark.parametrize("from_variant", [False, True])
def test_a_copy_in_host_memory_for_a_card_holds_packed_weights_as_they_are(tmp_path, kind, form, from_variant):
    checkpoint = stored(tmp_path, kind)
    plain = weights_of(checkpoint, kind, form)
    wanted = everything(plain)
    if from_variant:
        made_variant(checkpoint, Precision.parse(form))
    weights = weights_of(checkpoint, kind, form)
    files = weights._files()
    copy = HostCopy.make(weights._mapped(files), weights.dtype, pin=False)
    skeleton = weights.build()
    skeleton.fill(gather(copy.to(torch.device("cpu")), "copy"), torch.device("cpu"), weights.dtype, "copy")
    found = dict(skeleton.model.state_dict())
    for place in skeleton.places:
        found[f"packed {place.names[0]}"] = dense(place.modules[0], torch.float32)
    assert same(found, wanted)
    if weights.bits:
        assert copy.layout.nbytes < weights.nbytes + 256 * 2 * len(copy.layout.places)


@pytest.mark.parametrize("form", ["bfloat16", "float32 8 bit"])
def test_making_a_variant_gives_way_between_tensors_leaves_nothing_and_can_be_tried_again(tmp_path, form):
    checkpoint, chosen = stored(tmp_path, "llama"), Precision.parse(form)
    before = sorted(path.name for path in checkpoint.folder.iterdir())
    allowed = iter([True, True, False])
    assert not keep_ready(checkpoint, chosen, lambda: next(allowed))
    assert sorted(path.name for path in checkpoint.folder.iterdir()) == before
    assert not list(tmp_path.rglob(".tmp-*/*"))
    assert keep_ready(checkpoint, chosen)
    assert variants.find(checkpoint, chosen)
    assert keep_ready(checkpoint, chosen, lambda: False), "it is there: nothing is asked"


def test_a_store_without_room_means_that_loads_convert_and_one_line_says_so(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    checkpoint = stored(tmp_path, "llama")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    assert keep_ready(checkpoint, Precision("bfloat16"))
    assert not variants.held(checkpoint)
    assert "Each load of the " in caplog.text
    assert "free space" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_was_not_finite_before_is_no_overflow(tmp_path, value):
    planned = [Planned("w", (3,), torch.float32, lambda: torch.tensor([1.0, value, 2.0]))]
    write_tensors(tmp_path / "w.safetensors", planned, torch.float16)
    assert map_tensors(tmp_path / "w.safetensors")["w"].isfinite().sum() == 2


@pytest.mark.parametrize("bits", [8, 4])
def test_packed_matrices_of_whole_cache_lines_start_aligned_in_a_mapped_variant(tmp_path, bits):
    path = made_variant(stored(tmp_path, "whisper"), Precision("float32", bits))
    entries = {name: entry for name, entry in read_header(path).items() if name.endswith(":values")}
    whole = [entry for entry in entries.values() if (entry.stop - entry.start) % 64 == 0]
    assert len(whole) > 20
    assert all(entry.start % 64 == 0 for entry in whole)
    mapped = map_tensors(path)
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in mapped.values())
