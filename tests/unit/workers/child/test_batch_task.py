"""A stage whose message or retry cannot be published is requeued by the parent, and no delivery is counted."""

from typing import Any

import pytest
import redis
from celery import Celery
from celery.exceptions import OperationalError, Reject

from golem_chain.shared.errors import BadAudio, BrokerAway, OutOfMemory
from golem_chain.workers.child import batch_task
from golem_chain.workers.child.batch_task import AWAY, BatchTask, Message


class Stage(BatchTask):
    name = "golem.stage"
    stage = "stage"
    ignore_result = True
    result: Any = None

    def run_batch(self, calls):
        if isinstance(self.result, type):
            raise self.result("in the middle of a batch")
        return [self.result for _ in calls]


@pytest.fixture
def stage():
    """The task, bound to an app without a broker, with a request that has one more step."""
    app = Celery("test", broker="memory://", set_as_current=False)
    task = app.register_task(Stage())
    task.result = {"passed": 1}
    app.finalize()
    task.push_request(id="j.stage", args=({},), kwargs={}, chain=[{"task": "golem.last", "args": [], "options": {}}])
    yield task
    task.pop_request()
    app.close()


def unsent(error):
    def apply_async(*_, **__):
        raise error

    return apply_async


@pytest.mark.parametrize("error", [OperationalError("away"), redis.ConnectionError("away"), OSError("away")])
def test_a_next_step_that_cannot_be_published_requeues_the_message(stage, monkeypatch, error):
    step = type("Step", (), {"apply_async": staticmethod(unsent(error))})()
    monkeypatch.setattr(batch_task, "signature", lambda *_, **__: step)
    with pytest.raises(Reject) as rejected:
        stage.run({})
    assert (rejected.value.reason, rejected.value.requeue) == (AWAY, True)


def test_the_next_step_is_published_once_and_not_by_celery_again(stage, monkeypatch):
    sent = []
    step = type("Step", (), {"apply_async": staticmethod(lambda args, **options: sent.append((args, options)))})()
    monkeypatch.setattr(batch_task, "signature", lambda *_, **__: step)
    assert stage.run({}) == {"passed": 1}
    assert [args for args, _ in sent] == [({"passed": 1},)]
    assert stage.request.chain is None


def test_a_retry_that_cannot_be_published_requeues_the_message(stage, monkeypatch):
    stage.result = OutOfMemory("No room.")
    step = type("Step", (), {"apply_async": staticmethod(unsent(OperationalError("away")))})()
    monkeypatch.setattr(stage, "signature_from_request", lambda *_, **__: step)
    stage.request.called_directly = False
    with pytest.raises(Reject) as rejected:
        stage.run({})
    assert (rejected.value.reason, rejected.value.requeue) == (AWAY, True)


def test_a_permanent_error_is_raised_as_it_is(stage):
    stage.result = BadAudio("This is no audio.")
    with pytest.raises(BadAudio):
        stage.run({})


def test_a_batch_during_which_redis_was_away_goes_back_unharmed_even_alone(stage):
    stage.result = BrokerAway
    message = Message("j.stage", {"args": ({},), "kwargs": {}}, b"", None, None)
    for messages in ([message], [message, message]):
        found: list[Any] = batch_task._results(stage, messages)
        assert [(one.reason, one.requeue) for one in found] == [(AWAY, True)] * len(messages)
