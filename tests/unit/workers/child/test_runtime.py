"""What the child does with its residency when the models in the store change."""

from typing import Any

import pytest

from golem_chain.broker.app import make_app
from golem_chain.shared.errors import ModelChanged
from golem_chain.workers.child.runtime import ChildRuntime
from tests.support.residency import make


@pytest.fixture
def runtime(settings):
    """A runtime whose first residency was made for a scribe that has since been pulled again."""
    app = make_app(settings)
    made: list[Any] = []

    def build(on_event):
        fails = {"fail_load": ModelChanged("The scribe's model was pulled again.")} if not made else {}
        residency, engines, _ = make("auto", scribe=fails, interpreter={})
        residency._tell = on_event
        made.append((residency, engines))
        return residency

    yield ChildRuntime(app, settings, build, "box"), made
    app.close()


def test_after_a_new_pull_the_next_batch_reads_all_models_anew(runtime):
    runtime, made = runtime
    runtime.serve("interpreter", ["i"], ["hello"])
    (failed,) = runtime.serve("scribe", ["a"], ["one"]).answers
    assert isinstance(failed, ModelChanged)
    assert failed.retryable, "the job is tried again"
    assert runtime.serve("scribe", ["a"], ["one"]).answers == ["scribe(one)"]
    (_, before), (residency, _) = made
    assert not before["interpreter"].loaded, "nothing of the old residency stays in memory"
    assert runtime.residency is residency


def test_without_a_new_pull_the_residency_stays(runtime):
    runtime, made = runtime
    runtime.serve("interpreter", ["a"], ["one"])
    runtime.serve("interpreter", ["b"], ["two"])
    assert len(made) == 1


def test_what_was_proved_runs_from_the_next_batch_on_and_a_batch_pauses_the_proofs(runtime):
    runtime, made = runtime
    calls: list[str] = []
    found = iter([False, True, False])

    class Known:
        def pause(self) -> None:
            calls.append("pause")

        def found(self) -> bool:
            return next(found)

        def rest(self, residency: Any, stages: Any) -> None:
            assert residency is runtime.residency
            calls.append("rest")

    runtime._proving = Known()
    for text in ("one", "two", "three"):
        assert runtime.serve("interpreter", ["i"], [text]).answers == [f"interpreter({text})"]
    assert len(made) == 2, "the engines are made anew once"
    assert not made[0][1]["interpreter"].loaded
    assert calls == ["pause", "rest"] * 3
