"""A device with less memory than expected: another program, the driver, a budget smaller than every model."""

import os
import re
from typing import Any

import pytest
import torch

from golem_chain.shared.errors import BadSetting, ModelAboveBudget, OutOfMemory
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.memory import Reading
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.runner import serve
from golem_chain.workers.stages.stub import StubEngine
from tests.support.residency import FakeMemory, make


class Card(FakeMemory):
    """A device on which another program uses `others` bytes; loads that exceed the free memory fail."""

    def __init__(self, engines, total, context=0):
        super().__init__(engines, total)
        self.others, self.context = 0, context

    def read(self):
        used = self.context + sum(e.weights_bytes for e in self.engines.values() if e.loaded)
        return Reading(used, used, self.total - used - self.others, used, self.total, self.context)


class OnCard(StubEngine):
    """An engine whose load fails if the card is full."""

    card: Card

    def load(self):
        if self.weights_bytes > self.card.read().free:
            raise torch.OutOfMemoryError("CUDA out of memory")
        super().load()


def on_card(mode, total, budget, context=0, **weights):
    engines = {name: OnCard(name, weights_bytes=size) for name, size in weights.items()}
    card = Card(engines, total, context)
    for engine in engines.values():
        engine.card = card
    events: list[Any] = []
    return Residency(engines, card, mode, budget, on_event=events.append), engines, card, events


def test_a_card_that_another_program_fills_is_emptied_of_ours_and_tried_once_more():
    residency, _, card, events = on_card("auto", 3000, 3000, a=1000, b=1000, c=1000)
    for stage in ("a", "b"):
        with residency.use(stage):
            pass
    card.others = 900  # of the 1,000 bytes left for c
    with residency.use("c"):
        assert residency.resident == ("c",)
    assert [(e.kind, e.stage, e.reason) for e in events[2:]] == [
        ("oom", "c", "load"),
        ("unload", "a", "out-of-memory"),
        ("unload", "b", "out-of-memory"),
        ("load", "c", "wanted"),
    ]


def test_a_card_that_stays_full_is_a_retryable_error_and_the_stage_works_when_it_is_free_again():
    residency, _, card, _ = on_card("1", 2000, 2000, a=1000)
    card.others = 1500
    with pytest.raises(OutOfMemory, match=r"500 B free of a budget of 2\.0 kB") as caught, residency.use("a"):
        pass
    assert caught.value.retryable
    assert caught.value.__cause__ is caught.value.__context__ is None, "a traceback would keep what was loaded"
    assert residency.resident == ()
    card.others = 0
    with residency.use("a") as engine:
        assert engine.loaded


def test_a_load_is_tried_twice_and_not_for_every_half_of_a_batch():
    residency, engines, _ = make(a={"fail_load": MemoryError(), "fail_loads": 5})
    served = serve(residency, "a", list(range(8)))
    assert all(isinstance(answer, OutOfMemory) for answer in served.answers)
    assert engines["a"].fail_loads == 3
    assert engines["a"].batches == []


def test_a_load_that_fails_once_costs_nobody_an_error():
    residency, engines, _ = make(a={"fail_load": MemoryError(), "fail_loads": 1})
    assert serve(residency, "a", [1, 2]).answers == ["a(1)", "a(2)"]
    assert engines["a"].batches == [2]


def test_another_fault_of_a_load_is_not_tried_again():
    residency, engines, _ = make(a={"fail_load": ValueError("broken"), "fail_loads": 1})
    with pytest.raises(ValueError, match="broken"), residency.use("a"):
        pass
    assert engines["a"].fail_loads == 0
    assert residency.resident == ()


def test_the_budget_includes_the_context_of_the_driver():
    residency, _, _, _ = on_card("auto", 10_000, 2300, context=400, a=1000, b=1000)
    for stage in ("a", "b"):
        with residency.use(stage):
            assert residency.memory.read().allocated <= 2300
    assert residency.resident == ("b",), "both would be 2,000 of 2,300 bytes, and 400 are the driver's"
    assert residency.peaks.expect("a on fake", 1, 0) == 0, "the context is no working memory"


def test_a_model_that_fits_the_budget_but_not_beside_the_context_is_refused_and_told_why():
    residency, engines, _, _ = on_card("1", 10_000, 1200, context=400, a=1000)
    with (
        pytest.raises(ModelAboveBudget, match=r"budget is 1\.2 kB, of which the driver takes 400 B"),
        residency.use("a"),
    ):
        pass
    assert engines["a"].loads == 0


def test_a_budget_below_the_smallest_model_refuses_every_stage_in_one_sentence():
    residency, engines, _ = make("auto", 900)
    for stage in engines:
        (error,) = serve(residency, stage, [1]).answers
        assert isinstance(error, ModelAboveBudget)
        assert re.search(rf"{stage} needs .*GOLEM_{stage.upper()}_MODEL", error.message)
    assert [engine.loads for engine in engines.values()] == [0, 0, 0]


@pytest.mark.parametrize("nonsense", ["0", "0%", "120%", "-1GiB", "much", "4GiBs", "nan", "%", "1e400%"])
def test_a_budget_of_nothing_or_of_nonsense_is_refused_by_name(monkeypatch, nonsense):
    monkeypatch.setitem(os.environ, "GOLEM_MEMORY_BUDGET", nonsense)
    with pytest.raises(BadSetting, match="GOLEM_MEMORY_BUDGET"):
        Settings.read(_env_file=None)
