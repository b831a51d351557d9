"""Micro-batches in the child: one call for the messages that were taken together, then each ends by itself.

A message ends through its own trace (result, chain, errbacks, signals), as if it had come alone. The parent's half is
in `workers.parent.strategy`.
"""

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, NamedTuple

from billiard.einfo import ExceptionInfo
from celery import Task, current_app, states
from celery.app.trace import fast_trace_task
from celery.exceptions import Ignore, Reject
from celery.utils.log import get_logger

from golem_chain.shared.errors import GolemError

logger = get_logger(__name__)

#: The header under which a message's own trace finds the result of the call that ran it with others.
_RESULT = "golem_result"
#: The header that tells when a message was sent (Unix seconds of the server); the transport writes it.
_SENT_AT = "sent_at"


class Message(NamedTuple):
    """One message, as the parent hands it to the child."""

    id: str
    request: dict[str, Any]  # Celery's headers and what the worker adds to them
    body: Any
    content_type: str | None
    content_encoding: str | None


class End(NamedTuple):
    """How one message ended, as Celery's tracer tells it."""

    failed: int
    value: Any  # the result's text, or what went wrong
    seconds: float


class BatchReport(NamedTuple):
    """What the child tells of a call: the end of each message, and what it holds now."""

    ends: list[End]
    resident: frozenset[str] | None  # stages whose model is loaded; None: just that of the task
    load_costs: dict[str, float]  # measured seconds of a load by stage


class Call(NamedTuple):
    """One message of a batch, as `run_batch` sees it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    task_id: str
    sent_at: float | None  # Unix seconds, the server's clock; None where the sender was not ours


class BatchTask(Task):
    """A task whose work is done for several messages at once: implement `run_batch`.

    Register an instance: `app.register_task(MyStage())`, with `name` and `stage` set on the class.
    `on_failure` may run in the worker's parent as well (time limit, dead letter): it must not touch a model.
    """

    abstract = True
    Strategy = "golem_chain.workers.parent.strategy:batch_strategy"
    stage: str = ""

    acks_late = True
    reject_on_worker_lost = True  # the message goes back; the transport counts its deliveries
    max_retries = 3
    retry_backoff_s = 1.0  # doubled with each retry
    throws = (GolemError,)  # errors with a sentence for the user need no traceback in the log
    resultrepr_maxsize = 64  # results are the users' words: not for events and logs

    def run_batch(self, calls: Sequence[Call]) -> list[Any | Exception]:
        """One result, or the exception that ends it, for each call, in their order.

        An exception whose `retryable` is true is tried again later, up to `max_retries` times; others fail their
        message alone. What is raised instead fails nobody yet: all go back and run alone.
        """
        raise NotImplementedError

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """End one message: give its result to Celery's tracer."""
        request = self.request
        if _RESULT in vars(request):
            result = getattr(request, _RESULT)
        else:  # called without our strategy
            [result] = self.run_batch([Call(args, kwargs, request.id or "", getattr(request, _SENT_AT, None))])
        if not isinstance(result, Exception):
            return result
        if not getattr(result, "retryable", False):
            raise result
        try:
            raise self.retry(exc=result, countdown=self.retry_backoff_s * 2**request.retries)
        except Reject as unsent:  # Redis is away, and took no retry: the message itself is the next try
            raise Reject(unsent.reason, requeue=True) from None

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """As Celery's; the arguments are the users' words, so logs and events show the task's id only."""
        options.setdefault("argsrepr", "…")
        options.setdefault("kwargsrepr", "…")
        return super().apply_async(args, kwargs, **options)

    def signature_from_request(self, request: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As Celery's, for a retry, without what we added to the request."""
        request = self.request if request is None else request
        for ours in (_RESULT, _SENT_AT):
            (request.headers or {}).pop(ours, None)
        return super().signature_from_request(request, *args, **kwargs)

    def ended(self, task_ids: Iterable[str]) -> set[str]:
        """Those whose success is stored already. SUCCESS is stored after the next step of the chain was sent, so
        that a message of such a task is a duplicate."""
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
        """Whether the task's success is stored."""
        return bool(self.ended([task_id]))

    def load_costs(self) -> dict[str, float]:
        """Measured seconds of a model's load by stage, as far as known in this process: the parent weighs a switch
        by it."""
        return {}

    def resident(self) -> frozenset[str] | None:
        """Stages whose model is loaded in this process; None: just this task's."""
        return None


def run_together(name: str, messages: Sequence[Message]) -> BatchReport:
    """The pool job: one call for all, then each message ends through its own trace."""
    task: BatchTask = current_app.tasks[name]
    start = monotonic()
    ended = task.ended(message.id for message in messages)
    todo = {message.id: message for message in messages if message.id not in ended}  # the same id twice runs once
    results = dict(zip(todo, _results(task, list(todo.values())), strict=True))
    spent = monotonic() - start
    ends = []
    for id_, request, *body in messages:
        request[_RESULT] = results.pop(id_) if id_ in results else Ignore()
        try:
            failed, value, runtime = fast_trace_task(name, id_, request, *body)
        except Exception:  # noqa: BLE001  (a bug while one message ends is that message's)
            failed, value, runtime = 1, ExceptionInfo(), 0.0
        ends.append(End(failed, value, (runtime or 0.0) + spent))  # a failure has no runtime
    return BatchReport(ends, task.resident(), dict(task.load_costs()))


def _results(task: BatchTask, messages: Sequence[Message]) -> list[Any | Exception]:
    """What `run_batch` gives for each; where it raises for several, each goes back to run alone."""
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
    except Exception as exc:  # noqa: BLE001  (whose fault is it? that is seen when each runs alone)
        if len(messages) == 1:
            return [exc]
        logger.warning("A batch of %d of %s failed as a whole, each runs alone: %r", len(messages), task.name, exc)
        return [Reject(exc, requeue=True)] * len(messages)
    return results
