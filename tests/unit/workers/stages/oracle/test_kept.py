"""The prefix is read once for several loads, and never with other weights than those that are loaded."""

import gc
import math
import os
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from golem_chain.shared.labels import parse_labels
from golem_chain.shared.records import Intent, OracleParams, Reply
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.oracle import engine as module
from golem_chain.workers.stages.oracle import kept
from golem_chain.workers.stages.oracle.decoder import texts
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.manifest import Checkpoint
from tests.support import packed_models
from tests.support.fake_card import FakeCard, OnCard, place
from tests.support.store_models import replace_weights
from tests.support.text_models import llama


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of each prefix that is read."""
    seen, ours = list[int](), texts.read_prefix

    def counted(decoder: Any, tokens: Any, *given: Any) -> Any:
        seen.append(len(tokens))
        return ours(decoder, tokens, *given)

    monkeypatch.setattr(module, "read_prefix", counted)
    return seen


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    (tmp_path / "model").mkdir()
    return packed_models.stored("oracle", llama(tmp_path / "model"), tmp_path / "store")


def oracle(weights: Weights) -> module.Oracle:
    return module.Oracle(weights, Settings.read(_env_file=None))


def ask(engine: module.Oracle, count: int = 2) -> list[Any]:
    intent = Intent(label="lights_on", score=1.0, method="cosine")
    cues = [
        module.ReplyRequest(f"turn on light {n}", intent, parse_labels("lights_on,other"), OracleParams(), n)
        for n in range(count)
    ]
    return engine.run([one.item for one in map(engine.prepare, cues) if isinstance(one, Ready)])


def again(engine: module.Oracle, count: int = 2) -> list[Any]:
    engine.unload()
    engine.load()
    return ask(engine, count)


@pytest.mark.parametrize("count", [1, 5], ids=["copied to each row", "shared by the rows"])
@pytest.mark.parametrize("bits", [None, 8])
def test_the_prefix_is_read_once_for_several_loads_with_the_same_replies(
    checkpoint: Checkpoint, reads: list[int], bits: int | None, count: int
) -> None:
    engine = oracle(Weights(checkpoint, module.make, bits=bits))
    engine.load()
    before = ask(engine, count)
    assert all(isinstance(one, Reply) for one in before)
    assert [again(engine, count) for _ in range(3)] == [before] * 3
    assert reads == [len(engine.prefix)]


def test_no_weight_outlives_an_unload_for_the_sake_of_the_prefix(checkpoint: Checkpoint) -> None:
    engine = oracle(Weights(checkpoint, module.make))
    engine.load()
    ask(engine)
    parameters = [weakref.ref(one) for one in engine.model.parameters()]
    prefix = weakref.ref(engine._read.keys)
    engine.unload()
    gc.collect()
    assert not [ref for ref in parameters if ref() is not None]
    held = prefix()
    assert held is not None
    assert held.untyped_storage().nbytes() == held.nbytes, "what is kept is a view of nothing larger"


def test_on_a_card_the_kept_prefix_lies_on_the_host_and_goes_back_after_a_load(
    tmp_path: Path, reads: list[int]
) -> None:
    with FakeCard():
        held = llama(tmp_path)
        place(held.model, torch.bfloat16)
        held.dtype = torch.bfloat16
        engine = oracle(held)
        engine.load()
        before = ask(engine, 3)
        on_card = weakref.ref(engine._read.keys)
        assert isinstance(engine._read.keys, OnCard)
        engine.unload()
        gc.collect()
        assert on_card() is None
        assert engine._kept._prefix is not None
        assert not isinstance(engine._kept._prefix.keys, OnCard)
        engine.load()
        assert ask(engine, 3) == before
        assert isinstance(engine._read.keys, OnCard)
    assert len(reads) == 1


def test_other_weights_read_the_prefix_again(checkpoint: Checkpoint, reads: list[int]) -> None:
    weights = Weights(checkpoint, module.make)
    engine = oracle(weights)
    engine.load()
    before = ask(engine)
    changed = {name: one * 1.5 for name, one in engine.model.state_dict().items()}
    engine.unload()
    weights.checkpoint = replace_weights(checkpoint, changed)
    engine.load()
    after = ask(engine)
    assert len(reads) == 2
    fresh = oracle(Weights(weights.checkpoint, module.make))
    fresh.load()
    assert after == ask(fresh) != before


def test_a_file_that_was_written_in_between_is_read_again_even_with_the_same_content(
    checkpoint: Checkpoint, reads: list[int]
) -> None:
    """It may have been damaged while its mapped pages were the weights, and mended since."""
    engine = oracle(Weights(checkpoint, module.make))
    engine.load()
    before = ask(engine)
    os.utime(checkpoint.weight_files[0])
    assert again(engine) == before
    assert len(reads) == 2


def test_a_prefix_of_weights_that_are_not_numbers_is_not_kept(tmp_path: Path, reads: list[int]) -> None:
    held = llama(tmp_path)
    weight = held.model.model.layers[1].self_attn.v_proj.weight.data
    sound = weight.clone()
    weight.fill_(math.nan)
    engine = oracle(held)
    engine.load()
    assert not any(isinstance(one, Reply) for one in ask(engine))
    weight.copy_(sound)
    assert all(isinstance(one, Reply) for one in again(engine))
    assert len(reads) == 2


def test_a_prefix_is_dropped_when_the_weights_turn_out_broken_later(tmp_path: Path, reads: list[int]) -> None:
    """What was computed before may be wrong without being infinite."""
    held = llama(tmp_path)
    engine = oracle(held)
    engine.load()
    before = ask(engine)
    norm = held.model.model.norm.weight.data  # keys and values do not depend on it
    sound = norm.clone()
    norm.fill_(math.nan)
    assert not any(isinstance(one, Reply) for one in again(engine))
    norm.copy_(sound)
    assert again(engine) == before
    assert len(reads) == 2


def test_a_prefix_above_the_limit_is_read_after_each_load(
    checkpoint: Checkpoint, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = oracle(Weights(checkpoint, module.make))
    engine.load()
    before = ask(engine)
    size = engine._read.keys.nbytes + engine._read.values.nbytes
    monkeypatch.setattr(kept, "AT_MOST_BYTES", size)
    assert again(engine) == before
    engine._kept.drop()
    monkeypatch.setattr(kept, "AT_MOST_BYTES", size - 1)
    assert again(engine) == again(engine) == before
    assert len(reads) == 3
