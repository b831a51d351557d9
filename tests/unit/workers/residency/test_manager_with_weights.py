"""Residency with real weights: a tampered folder, a kill during a load, memory returned, a budget observed."""

import gc
import json
import os
import random
import signal
import subprocess
import sys
import weakref
from typing import Any

import pytest
import torch
import transformers

from golem_chain.benchmarks.switch.measure import Held
from golem_chain.shared.errors import ModelAboveBudget, ModelCorrupt
from golem_chain.workers.devices.memory import CpuMemory
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.store import manifest
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.manifest import verify
from tests.support.paths import ROOT
from tests.support.store_models import bart, bert, gpt2, replace_weights, same_weights, stored, whisper

MB = 1_000_000


def residency_of(mode="1", budget=None, **checkpoints):
    """Return a residency of real engines; the values are (checkpoint, model class)."""
    engines = {name: Held(name, Weights(checkpoint, make)) for name, (checkpoint, make) in checkpoints.items()}
    events: list[Any] = []
    return Residency(engines, CpuMemory(), mode, budget, on_event=events.append), engines, events


def truncate(checkpoint):
    os.truncate(checkpoint.weight_files[0], checkpoint.weight_files[0].stat().st_size - 100)
    return checkpoint


def flip_a_bit(checkpoint):
    with checkpoint.weight_files[0].open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    return checkpoint


def swap(checkpoint):
    return replace_weights(checkpoint, {name: t.clone() for name, t in bert().state_dict().items()})


def lose(checkpoint):
    checkpoint.weight_files[0].unlink()
    return checkpoint


@pytest.mark.parametrize("harm", [truncate, flip_a_bit, swap, lose])
@pytest.mark.parametrize("loaded_before", [False, True])
def test_a_folder_that_was_tampered_with_is_refused_and_the_other_stage_works(tmp_path, harm, loaded_before):
    harmed, sound = stored(tmp_path / "a", "gpt2"), stored(tmp_path / "b", "bart")
    residency, engines, events = residency_of(oracle=(harmed, type(gpt2())), interpreter=(sound, type(bart())))
    if loaded_before:
        with residency.use("oracle"):
            pass
        residency.unload_all("stop")
    engines["oracle"].weights.checkpoint = harm(harmed)
    for _ in range(2):  # also the second time
        with pytest.raises(ModelCorrupt, match="golem models pull") as caught, residency.use("oracle"):
            pass
        assert "\n" not in caught.value.message
        assert residency.resident == ()
        assert engines["oracle"].model is None
        with residency.use("interpreter") as engine:
            assert same_weights(engine.model, bart())
    assert "oom" not in [event.kind for event in events]


def test_a_budget_below_the_model_is_refused_before_a_file_is_opened(tmp_path, monkeypatch):
    checkpoint = stored(tmp_path, "gpt2")
    residency, engines, _ = residency_of(budget=1000, oracle=(checkpoint, type(gpt2())))
    monkeypatch.setattr(Weights, "load", lambda self: pytest.fail("it was loaded"))
    with pytest.raises(ModelAboveBudget, match=r"weights .* but the budget is 1\.0 kB"), residency.use("oracle"):
        pass
    assert engines["oracle"].weights_bytes > 1000


SHARDS = {"max_shard_size": "2KB"}


@pytest.mark.parametrize(
    ("kind", "model", "dtype", "save"),
    [("gpt2", gpt2, "float32", {}), ("gpt2", gpt2, "float32", SHARDS), ("whisper", whisper, "float16", {})],
    ids=["tied weights", "shards", "float16 on a CPU"],
)
def test_it_comes_and_goes_as_often_as_wanted_and_is_the_same_each_time(tmp_path, kind, model, dtype, save):
    original = model()
    checkpoint = stored(tmp_path, kind, original, dtype, **save)
    assert not save or len(list((tmp_path / "source").glob("*.safetensors"))) > 1
    expected = original.half().float() if dtype == "float16" else original
    residency, _, _ = residency_of(a=(checkpoint, type(original)))
    for _ in range(3):
        with residency.use("a") as engine:
            assert {p.dtype for p in engine.model.parameters()} == {torch.float32}
            assert same_weights(engine.model, expected)
            output = engine.model.get_output_embeddings().weight
            assert output is engine.model.get_input_embeddings().weight, "tied: one tensor"
        residency.unload_all("stop")


def test_no_weight_is_alive_after_an_unload_although_the_collector_was_told_to_look_away(tmp_path):
    residency, engines, _ = residency_of(a=(stored(tmp_path, "gpt2"), type(gpt2())))
    gc.collect()
    gc.freeze()  # as a worker does after its imports
    try:
        for _ in range(2):
            with residency.use("a") as engine:
                with torch.inference_mode():
                    engine.model(input_ids=torch.tensor([[1, 2, 3]]))
                alive = [weakref.ref(p) for p in engine.model.parameters()]
                alive += [weakref.ref(p.untyped_storage()) for p in engine.model.parameters()]
            gc.freeze()  # again, with the model loaded
            residency.unload_all("stop")
            assert len(alive) > 20
            assert not [ref for ref in alive if ref() is not None]
            sizes = [t.nbytes for t in gc.get_objects() if isinstance(t, torch.nn.Parameter) and not t.is_meta]
            assert sum(sizes) < engines["a"].weights_bytes
    finally:
        gc.unfreeze()


CHILD = """
import os, signal, sys
from pathlib import Path
from transformers import GPT2LMHeadModel
from golem_chain.workers.store import manifest
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.skeleton import Skeleton

put, filled = Skeleton._put, []
def half_way(slot, value):
    put(slot, value)
    filled.append(slot)
    if len(filled) == 10:  # of 28
        os.kill(os.getpid(), signal.SIGKILL)

weights = Weights(manifest.read(Path(sys.argv[1])), GPT2LMHeadModel)
weights.build()
Skeleton._put = staticmethod(half_way)
weights.load()
"""


def test_a_kill_in_the_middle_of_a_load_harms_nothing(tmp_path):
    checkpoint = stored(tmp_path, "gpt2")
    record = json.loads((checkpoint.folder / "golem.json").read_text())
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(checkpoint.folder)], capture_output=True, text=True, timeout=120, check=False,
        env={"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    verify(checkpoint)
    assert json.loads((checkpoint.folder / "golem.json").read_text()) == record
    assert {path.name for path in checkpoint.folder.iterdir()} == {*checkpoint.files, "golem.json"}
    assert same_weights(Weights(manifest.read(checkpoint.folder), type(gpt2())).load(), gpt2())


def test_auto_keeps_what_is_really_taken_within_the_budget(tmp_path):
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=1000, n_embd=384, n_layer=4, n_head=4, n_positions=64)
    checkpoints = {}
    for name in ("a", "b", "c"):
        checkpoint = stored(tmp_path / name, "gpt2", transformers.GPT2LMHeadModel(config).eval())
        checkpoints[name] = (checkpoint, transformers.GPT2LMHeadModel)
    size = Weights(*checkpoints["a"]).nbytes
    assert size > 25 * MB
    residency, engines, events = residency_of("auto", int(2.5 * size), **checkpoints)
    for stage in engines:  # warm up: skeletons, and the first touch of all pages
        with residency.use(stage) as engine:
            engine.run([])
    residency.unload_all("stop")
    base, highest, turns = residency.memory.read().allocated, 0, random.Random(5)
    for _ in range(50):
        with residency.use(turns.choice("abc")) as engine:
            engine.run([])  # touches every page
            taken = residency.memory.read().allocated - base
            assert taken <= residency.budget_bytes + 2 * MB
            highest = max(highest, taken)
    assert highest > 1.9 * size, "there were two at once"
    assert sum(event.reason == "evicted" for event in events) > 10
    residency.unload_all("stop")
    assert residency.memory.read().allocated - base < 0.05 * size
