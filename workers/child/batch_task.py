"""Batches in the child: one call computes all messages of a batch, then each ends separately.

Each message ends through its own Celery trace (result, chain, errbacks, signals), as if it had run alone. The parent's
half is `workers.parent.strategy`.
"""

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, NamedTuple

import redis
from billiard.einfo import ExceptionInfo
from celery import Task, current_app, signature, states
from celery.app.trace import fast_trace_task
from celery.exceptions import Ignore, OperationalError, Reject
from celery.utils.log import get_logger

from golem_chain.shared.errors import BrokerAway, GolemError
from golem_chain.shared.json_object import JsonObject

logger = get_logger(__name__)

#: The reason of a Reject that is nobody's fault: Redis was down. The parent requeues the message without counting a
#: delivery.
AWAY = "redis-away"
#: The header that passes a message's result from the batch call to its own trace.
_RESULT = "golem_result"
#: The header with the time of publishing (Unix seconds by the server's clock), written by the transport.
_SENT_AT = "sent_at"


class Message(NamedTuple):
    """One message, as the parent passes it to the child."""

    id: str
    request: JsonObject  # Celery's headers plus the worker's additions
    body: Any
    content_type: str | None
    content_encoding: str | None


class End(NamedTuple):
    """How one message ended, as Celery's tracer returns it."""

    failed: int
    value: Any  # the result's text, or the exception info
    seconds: float


class BatchReport(NamedTuple):
    """The child's report on a batch: the end of each message, and the models that are now loaded."""

    ends: list[End]
    resident: frozenset[str] | None  # stages whose model is loaded; None: only the task's own
    load_costs: dict[str, float]  # measured load time by stage, seconds


class Call(NamedTuple):
    """One message of a batch, as passed to `run_batch`."""

    args: tuple[Any, ...]
    kwargs: JsonObject
    task_id: str
    sent_at: float | None  # Unix seconds by the server's clock; None if our transport did not publish it


class BatchTask(Task):
    """A task that computes several messages at once. Subclasses implement `run_batch`.

    Register an instance: `app.register_task(MyStage())`, with `name` and `stage` set on the class.
    `on_failure` also runs in the parent (time limit, dead letter), so it must not touch a model.
    """

    abstract = True
    Strategy = "golem_chain.workers.parent.strategy:batch_strategy"
    stage: str = ""

    acks_late = True
    reject_on_worker_lost = True  # requeue; the transport counts deliveries
    max_retries = 3
    retry_backoff_s = 1.0  # doubled with each retry
    throws = (GolemError,)  # expected errors: logged without a traceback
    resultrepr_maxsize = 64  # results contain users' words: keep them out of events and logs

    def run_batch(self, calls: Sequence[Call]) -> list[Any | Exception]:
        """Return one result or exception for each call, in the same order.

        A message whose exception has a true `retryable` is retried later, up to `max_retries` times; other exceptions
        fail their message only. If this method raises, all messages are requeued and run alone.
        """
        raise NotImplementedError

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """End one message: pass its result to Celery's tracer, or raise its exception."""
        request = self.request
        if _RESULT in vars(request):
            result = getattr(request, _RESULT)
        else:  # not called through our strategy
            [result] = self.run_batch([Call(args, kwargs, request.id or "", getattr(request, _SENT_AT, None))])
        if not isinstance(result, Exception):
            self._publish_next(result)
            return result
        if not getattr(result, "retryable", False):
            raise result
        try:
            raise self.retry(exc=result, countdown=self.retry_backoff_s * 2**request.retries)
        except Reject as unsent:  # the retry was not published: requeue the message itself
            away = isinstance(unsent.reason, OperationalError | OSError | redis.RedisError)
            raise Reject(AWAY if away else unsent.reason, requeue=True) from None

    def continues(self, result: Any) -> bool:
        """Return whether the next step of the chain runs after this result."""
        del result
        return True

    def _publish_next(self, result: Any) -> None:
        """Publish the next step of the chain. Celery's tracer would too, but it fails the task if Redis is down."""
        chain, self.request.chain = self.request.chain, None
        if not chain or not self.continues(result):
            return
        *later, following = chain  # Celery stores the steps in reverse order
        step = signature(following, app=self.app)
        try:
            step.apply_async(
                (result,), chain=later, parent_id=self.request.id, root_id=self.request.root_id or self.request.id
            )
        except (OperationalError, OSError, redis.RedisError):
            raise Reject(AWAY, requeue=True) from None

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """As Celery's, but logs and events show no arguments, because these contain users' words."""
        options.setdefault("argsrepr", "…")
        options.setdefault("kwargsrepr", "…")
        return super().apply_async(args, kwargs, **options)

    def signature_from_request(self, request: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As Celery's, for a retry, without the headers that we added to the request."""
        request = self.request if request is None else request
        for ours in (_RESULT, _SENT_AT):
            (request.headers or {}).pop(ours, None)
        return super().signature_from_request(request, *args, **kwargs)

    def ended(self, task_ids: Iterable[str]) -> set[str]:
        """Return the tasks whose success is already stored. Celery stores SUCCESS after publishing the next step of the
        chain, so a message of such a task is a duplicate."""
        ids = list(dict.fromkeys(task_ids))
        if self.ignore_result or not ids:
            return set()
        backend = self.backend
        stored = backend.ensure(backend.mget, ([backend.get_key_for_task(one) for one in ids],))
        return {
            one
            for one, meta in zip(ids, stored, strict=True)
            if meta and backend.decode_result(meta).get("status") == states.SUCCESS
        }

    def has_ended(self, task_id: str) -> bool:
        """Return whether the task's success is already stored."""
        return bool(self.ended([task_id]))

    def load_costs(self) -> dict[str, float]:
        """Return load times measured by this process, by stage, seconds; the scheduler uses them as costs of a
        switch."""
        return {}

    def resident(self) -> frozenset[str] | None:
        """Return the stages whose model is loaded in this process; None: only this task's."""
        return None


def run_together(name: str, messages: Sequence[Message]) -> BatchReport:
    """Run the pool job: one call for all messages, then each ends through its own trace."""
    task: BatchTask = current_app.tasks[name]
    start = monotonic()
    results = _results_by_id(task, messages)
    spent = monotonic() - start
    ends = []
    for id_, request, *body in messages:
        request[_RESULT] = results.pop(id_) if id_ in results else Ignore()
        try:
            failed, value, runtime = fast_trace_task(name, id_, request, *body)
        except Exception:  # noqa: BLE001  (an error while one message ends fails only that message)
            failed, value, runtime = 1, ExceptionInfo(), 0.0
        ends.append(End(failed, value, (runtime or 0.0) + spent))  # failures have no runtime
    return BatchReport(ends, task.resident(), dict(task.load_costs()))


def _results_by_id(task: BatchTask, messages: Sequence[Message]) -> dict[str, Any]:
    """Return the result of each message by its id, without those of tasks that have already ended."""
    todo = {message.id: message for message in messages}  # deduplicated by id
    try:
        ended = task.ended(todo)
    except (OSError, redis.RedisError) as exc:
        logger.warning("A batch of %d of %s is requeued, Redis is down: %r", len(messages), task.name, exc)
        return dict.fromkeys(todo, Reject(AWAY, requeue=True))
    todo = {id_: message for id_, message in todo.items() if id_ not in ended}
    return dict(zip(todo, _results(task, list(todo.values())), strict=True))


def _results(task: BatchTask, messages: Sequence[Message]) -> list[Any | Exception]:
    """Return the results of `run_batch`; if it raises for several messages, all are requeued to run alone."""
    if not messages:
        return []
    calls = [
        Call(tuple(message.request["args"]), message.request["kwargs"], message.id, message.request.get(_SENT_AT))
        for message in messages
    ]
    try:
        results = list(task.run_batch(calls))
        if len(results) != len(messages):
            raise ValueError(f"{task.name}: {len(results)} results for {len(messages)} calls")
    except BrokerAway as exc:
        logger.warning("A batch of %d of %s is requeued: %s", len(messages), task.name, exc.message)
        return [Reject(AWAY, requeue=True)] * len(messages)
    except Exception as exc:  # noqa: BLE001  (the cause shows when each message runs alone)
        if len(messages) == 1:
            return [exc]
        logger.warning("A batch of %d of %s failed: each message now runs alone: %r", len(messages), task.name, exc)
        return [Reject(exc, requeue=True)] * len(messages)
    return results
