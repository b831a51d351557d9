"""Prefetching of weights: in the background, one at a time, without delaying loads."""

import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from golem_chain.workers.child.runtime import ChildRuntime
from golem_chain.workers.residency.runner import serve
from golem_chain.workers.stages.engine import Prefetching
from golem_chain.workers.stages.stub import StubEngine
from tests.support.residency import make


def settle(residency):
    residency._prefetching.join(60)
    assert not residency._prefetching.is_alive()


class Slow(StubEngine):
    """A prefetch that lasts until it is released."""

    def __init__(self, name):
        super().__init__(name)
        self.begun, self.go = threading.Event(), threading.Event()

    def prefetch(self):
        self.begun.set()
        assert self.go.wait(60)
        super().prefetch()


@pytest.fixture
def slow():
    residency, engines, _ = make()
    engines["b"] = residency.engines["b"] = Slow("b")
    yield residency, engines
    engines["b"].go.set()
    settle(residency)


def test_the_next_stage_is_fetched_while_this_one_computes():
    residency, engines, _ = make()
    seen = []

    def run(batch):
        seen.append(residency._prefetching.name)
        return [None]

    engines["a"].run = run
    serve(residency, "a", [1], next_stage="b")
    settle(residency)
    assert seen == ["prefetch b"], "it had begun when the batch ran"
    assert (engines["b"].prefetches, engines["b"].loads) == (1, 0)


def test_a_batch_that_needs_no_model_fetches_none():
    residency, engines, _ = make()
    serve(residency, "a", [], next_stage="b")
    assert engines["b"].prefetches == 0


def test_what_is_resident_is_not_fetched():
    residency, engines, _ = make("auto")
    with residency.use("b"):
        pass
    serve(residency, "a", [1], next_stage="b")
    assert engines["b"].prefetches == 0


def test_one_is_fetched_at_a_time(slow):
    residency, engines = slow
    assert residency.prefetch("b")
    assert not residency.prefetch("c")
    assert not residency.prefetch("b")
    engines["b"].go.set()
    settle(residency)
    assert residency.prefetch("c")
    settle(residency)
    assert (engines["b"].prefetches, engines["c"].prefetches) == (1, 1)


def test_nobody_waits_for_it(slow):
    residency, engines = slow
    residency.prefetch("b")
    assert engines["b"].begun.wait(60)
    for stage in ("a", "b", "c"):  # including the stage being prefetched
        with residency.use(stage):
            pass
    residency.unload_all("stop")
    assert not engines["b"].go.is_set()


def test_a_failure_is_logged_and_costs_nothing(caplog):
    residency, engines, _ = make(a={}, b={"fail_prefetch": OSError("the disk is gone")})
    with caplog.at_level(logging.WARNING):
        assert serve(residency, "a", [1], next_stage="b").answers == ["a(1)"]
        settle(residency)
    assert "Prefetching the weights of the b failed: the disk is gone" in caplog.text
    with residency.use("b"):
        assert engines["b"].loaded


def test_an_engine_need_not_offer_it():
    residency, _, _ = make()
    residency.engines["plain"] = SimpleNamespace(name="plain")
    assert not isinstance(residency.engines["plain"], Prefetching)
    assert not residency.prefetch("plain")
    assert not residency.prefetch("a stage that is not here")


@pytest.mark.parametrize(
    ("wanted", "served", "following"),
    [
        ("interpreter", ["scribe", "interpreter", "oracle"], "interpreter"),
        ("oracle", ["scribe", "interpreter", "oracle"], "oracle"),
        (None, ["scribe", "interpreter", "oracle"], None),
        ("interpreter", ["scribe", "oracle"], None),
    ],
)
def test_a_box_fetches_the_stage_that_its_jobs_need_next_where_it_serves_it(wanted, served, following):
    place: Any = SimpleNamespace(_served=lambda: served)
    assert ChildRuntime._if_served(place, wanted) == following
