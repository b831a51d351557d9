"""Micro-batches in the parent: the messages of one take become one job of the pool.

Each message keeps its own Request (ack, events, revoke, limits). What came back (redelivered, retried, put off) runs
alone, so that one poisonous message cannot take its neighbours down twice. Proven against celery 5.7: it leans on
`strategy.default` and the `on_*` callbacks of Request. The child's half is in `workers.child.batch_task`.
"""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

from billiard.einfo import ExceptionWithTraceback
from celery import Task, signals
from celery.exceptions import TaskRevokedError, Terminated, TimeLimitExceeded, WorkerLostError
from celery.utils.log import get_logger
from celery.worker.state import task_ready
from celery.worker.strategy import default

from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.shared.errors import GolemError, TimeLimit
from golem_chain.workers.child.batch_task import BatchReport, BatchTask, Message, run_together

logger = get_logger(__name__)


class Batch:
    """Several Requests as one pool job; to the worker it looks like one Request. A lone message is a batch of one."""

    def __init__(self, task: BatchTask, requests: Sequence[Any], held: ConsumerState) -> None:
        self.task, self.requests, self._held = task, list(requests), held
        self._split = False

    def execute_using_pool(self, pool: Any, **_: Any) -> Any:
        """Send the batch to the child. Raises TaskRevokedError where all of them were revoked."""
        self.requests = [r for r in self.requests if not r.revoked()]
        if not self.requests:
            raise TaskRevokedError
        result = pool.apply_async(
            run_together,
            args=(
                self.task.name,
                [Message(r.id, r.request_dict, r.body, r.content_type, r.content_encoding) for r in self.requests],
            ),
            accept_callback=self.on_accepted,
            timeout_callback=self.on_timeout,
            callback=self.on_success,
            error_callback=self.on_failure,
            timeout=self._limit_s(),
            correlation_id=self.requests[0].id,
        )
        for r in self.requests:
            r._apply_result = ref(result) if result is not None else None
        self.result = result  # the requests hold weak references only
        return result

    def _limit_s(self) -> float | None:
        """The time limit of the batch: the fixed part once, the parts that grow with the audio summed, seconds."""
        base = self.task.time_limit or self.task.app.conf.task_time_limit
        limits = [r.time_limits[0] or base for r in self.requests]
        if None in limits:
            return None
        least = min(limits)
        return float(least + sum(limit - least for limit in limits))

    def _each(self, call: Callable[[int, Any], Any]) -> None:
        for n, r in enumerate(self.requests):
            try:
                call(n, r)
            except Exception:
                logger.exception("Ending %s failed", r.id)

    def _put_back(self, _: int, r: Any) -> None:
        task_ready(r)
        r.reject(requeue=True)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """The child has begun."""
        self._each(lambda _, r: r.on_accepted(pid, time_accepted))

    def on_success(self, report: BatchReport) -> None:
        """The child has ended all of them, each in its way."""
        self._held.learned(report.resident, report.load_costs)
        self._each(lambda n, r: r.on_success(report.ends[n]))

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The hard limit is over; billiard has called on_failure before and kills the child after."""
        del soft
        if not self._split:
            self._each(lambda _, r: self._time_is_over(r, timeout))

    def _time_is_over(self, r: Any, timeout: float) -> None:
        task_ready(r)
        fail(self.task, r._context, TimeLimit(f"The stage ran past its time limit of {timeout:g} s."))
        r.acknowledge()
        r.send_event("task-failed", exception=f"TimeLimit({timeout:g} s)", traceback="")

    def on_failure(self, exc_info: Any) -> None:
        """The child died, was terminated or ran out of time."""
        exc = exc_info.exception
        exc = exc.exc if isinstance(exc, ExceptionWithTraceback) else exc
        self._held.child_died()
        if isinstance(exc, Terminated):  # only some of them were to be terminated, and those have ended
            gone = [r for r in self.requests if r._already_revoked or r._already_cancelled]
            self.requests = [r for r in self.requests if r not in gone]
            self._each(self._put_back)
        elif isinstance(exc, TimeLimitExceeded):  # on_timeout follows
            self._split = len(self.requests) > 1
            if self._split:  # whose fault is it? each runs alone
                logger.warning("A batch of %d of %s ran out of time, each runs alone", len(self.requests), self.name)
                self._each(self._put_back)
        elif isinstance(exc, WorkerLostError):
            self._put_back_lost(str(exc))
        else:  # the whole call failed, outside of any message: no memory, an answer that cannot be sent
            self._put_back_lost(f"the call failed ({type(exc).__name__})")

    def _put_back_lost(self, error: str) -> None:
        logger.error("A batch of %s was lost: %s. %d message(s) go back", self.name, error, len(self.requests))

        def lost(_: int, r: Any) -> None:
            task_ready(r)
            tag, qos = r.message.delivery_tag, r.message.channel.qos
            if self._has_ended(r):  # its success was stored just before
                r.acknowledge()
            elif self._held.stopping:  # the signal that stops us went to the child as well: no fault of the message
                qos.restore_by_tag(tag, uncounted=True)
            else:
                qos.crashed(tag, error)
                r.reject(requeue=True)

        self._each(lost)

    def _has_ended(self, r: Any) -> bool:
        try:
            return self.task.has_ended(r.id)
        except Exception as exc:  # noqa: BLE001  (Redis is away: its next delivery will see)
            logger.warning("Whether %s has ended is not known: %r", r.id, exc)
            return False

    @property
    def name(self) -> str:
        """The task's."""
        return str(self.task.name)


def fail(task: Task, request: Any, exc: GolemError) -> None:
    """End a task as failed from the parent, as its tracer would in the child: the result is stored, the rest of its
    chain fails, errbacks and `on_failure` are called. `request`: a celery Context with args, kwargs and chain."""
    task.backend.mark_as_failure(request.id, exc, request=request, store_result=not task.ignore_result)
    task.on_failure(exc, request.id, request.args, request.kwargs, None)
    signals.task_failure.send(
        sender=task,
        task_id=request.id,
        exception=exc,
        args=request.args,
        kwargs=request.kwargs,
        traceback=None,
        einfo=None,
    )


class _Collecting:
    """The consumer as Celery's default strategy sees it, except that requests ready to run are collected."""

    def __init__(self, consumer: Any, collect: Callable[[Any], None]) -> None:
        self._consumer, self.on_task_request = consumer, collect

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def batch_strategy(task: BatchTask, app: Any, consumer: Any) -> Any:
    """The strategy of a BatchTask: the messages of one take become one batch."""
    submit, held = consumer.on_task_request, consumer.context.held
    pending: list[Any] = []

    def collect(request: Any) -> None:
        if request.delivery_info["redelivered"] or request.request_dict.get("retries"):
            submit(Batch(task, [request], held))
            return
        if not pending:
            consumer.call_soon(flush)  # the next turn of the loop: the whole take has been delivered by then
        pending.append(request)

    def flush() -> None:
        requests, pending[:] = pending[:], []
        submit(Batch(task, requests, held))

    return default(task, app, _Collecting(consumer, collect))
