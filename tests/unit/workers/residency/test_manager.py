"""Residency on a fake device: one owner, one stage at a time, all memory returned, one-sentence errors."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golem_chain.shared.errors import BadAudio, BadRequest, ModelAboveBudget, OutOfMemory
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.runner import serve
from golem_chain.workers.stages.stub import StubEngine
from tests.support.residency import FakeMemory, make


def test_one_model_at_a_time_is_resident():
    residency, engines, events = make()
    for stage in ("a", "a", "b", "c", "a"):
        with residency.use(stage) as engine:
            assert engine is engines[stage]
            assert residency.resident == (stage,)
    assert [e.loads for e in engines.values()] == [2, 1, 1]
    assert [(e.kind, e.stage, e.reason) for e in events][:3] == [
        ("load", "a", "wanted"),
        ("unload", "a", "evicted"),
        ("load", "b", "wanted"),
    ]


def test_mode_0_gives_back_after_every_use():
    residency, engines, _ = make("0")
    with residency.use("a"):
        assert engines["a"].loaded
    assert residency.resident == ()
    assert residency.memory.read().allocated == 100


def test_auto_holds_as_many_as_fit_and_evicts_the_least_recently_used():
    residency, _, _ = make("auto", 2500)
    for stage in ("a", "b", "a"):
        with residency.use(stage):
            pass
    with residency.use("c"):
        pass
    assert residency.resident == ("a", "c")


def test_a_model_above_the_budget_is_refused_before_anything_moves():
    residency, engines, _ = make("1", 1500, a={}, big={"weights_bytes": 5000})
    with residency.use("a"):
        pass
    with (
        pytest.raises(ModelAboveBudget, match=r"big needs 5\.0 kB .* budget is 1\.5 kB.*GOLEM_MEMORY_BUDGET"),
        residency.use("big"),
    ):
        pass
    assert residency.resident == ("a",)
    assert engines["a"].unloads == 0


def test_a_stage_in_use_can_neither_be_unloaded_nor_switched_away():
    residency, _, _ = make()
    with residency.use("a"):
        with pytest.raises(BadRequest, match="in use"):
            residency.unload_all("stop")
        with pytest.raises(BadRequest, match="one stage runs at a time"), residency.use("b"):
            pass
    with residency.use("b"):
        assert residency.resident == ("b",)


def test_another_thread_waits_for_its_turn():
    residency, _, _ = make()
    order = []

    def other():
        with residency.use("b"):
            order.append("b")

    with residency.use("a"):
        thread = threading.Thread(target=other)
        thread.start()
        residency.unload_idle(0)  # called during use: does not unload it
        order.append("a")
    thread.join(5)
    assert order == ["a", "b"]


def test_an_idle_model_goes_after_its_time():
    now = [0.0]
    engines = {"a": StubEngine("a")}
    residency = Residency(engines, FakeMemory(engines), clock=lambda: now[0])
    with residency.use("a"):
        pass
    now[0] = 9.0
    residency.unload_idle(10)
    assert residency.resident == ("a",)
    now[0] = 11.0
    residency.unload_idle(10)
    assert not residency.resident


def test_what_does_not_come_back_is_said_with_its_size():
    residency, _, events = make(leak=500)
    for round_ in range(2):  # the first round leaves modules and libraries, which stay
        with residency.use("a"):
            pass
        residency.unload_all("stop")
        assert events[-1].missing_bytes == 500 * round_
    assert "500 B not released" in events[-1].sentence()


def test_a_failed_load_leaves_nothing_resident():
    residency, engines, _ = make(a={"fail_load": MemoryError()}, b={})
    with pytest.raises(OutOfMemory, match=r"GOLEM_BATCH"), residency.use("a"):
        pass
    assert residency.resident == ()
    engines["a"].fail_load = ValueError("broken")
    with pytest.raises(ValueError, match="broken"), residency.use("a"):
        pass
    with residency.use("b"):
        assert residency.resident == ("b",)


def test_a_batch_is_answered_in_order_and_a_bad_item_fails_alone():
    residency, engines, _ = make()
    bad = BadAudio("x.wav is not audio.")
    served = serve(residency, "a", [1, bad, 2])
    assert served.answers == ["a(1)", bad, "a(2)"]
    assert engines["a"].batches == [2]
    assert served.batch_size == 2


def test_a_batch_that_needs_no_model_loads_none():
    residency, engines, _ = make()
    assert serve(residency, "a", [BadAudio("x")]).batch_size == 0
    assert engines["a"].loads == 0


def test_the_budget_splits_a_batch():
    residency, engines, _ = make("1", 1250, a={"working": 100})
    served = serve(residency, "a", [1, 2, 3, 4, 5])
    assert engines["a"].batches == [2, 2, 1]
    assert served.answers == [f"a({n})" for n in (1, 2, 3, 4, 5)]


def test_out_of_memory_unloads_all_and_halves_the_batch():
    residency, engines, events = make(a={"fail_above": 2})
    assert serve(residency, "a", [1, 2, 3, 4]).answers == ["a(1)", "a(2)", "a(3)", "a(4)"]
    assert engines["a"].batches == [4, 2, 2]
    assert [e.kind for e in events] == ["load", "unload", "oom", "load"]
    serve(residency, "a", [1, 2, 3, 4])  # learned: a batch of four is not tried again
    assert max(engines["a"].batches[3:]) < 4


def test_out_of_memory_twice_is_a_retryable_error_that_names_the_settings():
    residency, _, _ = make(a={"fail_above": 0})
    answers = serve(residency, "a", [1, 2]).answers
    assert all(isinstance(a, OutOfMemory) and a.retryable and "GOLEM_" in a.message for a in answers)


def test_another_fault_of_the_engine_is_not_taken_for_memory():
    residency, _, _ = make(a={"fail_above": 0, "error_above": ValueError("a fault")})
    with pytest.raises(ValueError, match="a fault"):
        serve(residency, "a", [1])
    assert residency.resident == ("a",)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.integers(1, 100), min_size=3, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 8)), max_size=40),
    st.integers(110, 400),
    st.sampled_from(["1", "0", "auto"]),
)
def test_no_sequence_of_switches_ever_passes_the_budget(weights, steps, budget, mode):
    engines = {str(n): StubEngine(str(n), weights_bytes=w, working=1) for n, w in enumerate(weights)}
    residency = Residency(engines, FakeMemory(engines), mode, budget)
    for number, batch in steps:
        stage = str(number % len(engines))
        with residency.use(stage, batch):
            loaded = sum(e.weights_bytes for e in engines.values() if e.loaded)
            assert loaded + batch <= budget
            assert {n for n, e in engines.items() if e.loaded} == set(residency.resident)
            assert mode == "auto" or residency.resident == (stage,)
    residency.unload_all("stop")
    assert not any(e.loaded for e in engines.values())
