"""Batches in the parent: the messages of one take become one pool job.

Each message keeps its own Request (acknowledgement, events, revokes, limits). Redelivered and retried messages run
alone, so that a poison message cannot fail its neighbours twice. Relies on private parts of Celery 5.7:
`strategy.default` and the `on_*` callbacks of Request. The child's half is `workers.child.batch_task`.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any
from weakref import ref

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.pool import ApplyResult
from celery import Task, signals
from celery.app.task import Context
from celery.concurrency.prefork import TaskPool
from celery.exceptions import Reject, TaskRevokedError, Terminated, TimeLimitExceeded, WorkerLostError
from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.state import task_ready
from celery.worker.strategy import default

from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.shared.errors import GolemError, TimeLimit
from golem_chain.workers.child.batch_task import AWAY, BatchReport, BatchTask, End, Message, run_together

logger = get_logger(__name__)


class Batch:
    """Several Requests as one pool job, with the interface of one Request. A single message is a batch of one."""

    def __init__(self, task: BatchTask, requests: Sequence[Request], held: ConsumerState) -> None:
        self.task, self.requests, self._held = task, list(requests), held
        self._split = False

    def execute_using_pool(self, pool: TaskPool, **_: Any) -> ApplyResult:
        """Send the batch to the child. Raises TaskRevokedError if all its messages were revoked."""
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
        self.result = result  # the requests hold only weak references
        return result

    def _limit_s(self) -> float | None:
        """Return the time limit, seconds: the fixed part once, plus the sum of the parts that grow with the audio. A
        message can raise its limit but not lower it: forged ones would kill the child."""
        base = self.task.time_limit or self.task.app.conf.task_time_limit
        limits = [max(r.time_limits[0] or base or inf, base or 0) for r in self.requests]
        if inf in limits:
            return None
        least = min(limits)
        return float(least + sum(limit - least for limit in limits))

    def _each(self, call: Callable[[int, Request], object]) -> None:
        for n, r in enumerate(self.requests):
            try:
                call(n, r)
            except Exception:
                logger.exception("Task %s could not be completed", r.id)

    def _requeue(self, _: int, r: Request) -> None:
        task_ready(r)
        r.reject(requeue=True)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """The child has started the batch."""
        self._each(lambda _, r: r.on_accepted(pid, time_accepted))

    def on_success(self, report: BatchReport) -> None:
        """The child has ended every message; the report has the result of each."""
        self._held.learned(report.resident, report.load_costs)
        self._each(lambda n, r: self._end(r, report.ends[n]))

    def _end(self, r: Request, end: End) -> None:
        """End one message; if Redis was down in the child, requeue it without counting a delivery."""
        if end.failed and _reason(end.value) == AWAY:
            task_ready(r)
            r.message.channel.qos.hand_back(r.message.delivery_tag)
            r.send_event("task-rejected", requeue=True)
        else:
            r.on_success(end)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The hard time limit was exceeded; billiard calls this between on_failure and killing the child."""
        del soft
        if not self._split:
            self._each(lambda _, r: self._fail_timed_out(r, timeout))

    def _fail_timed_out(self, r: Request, timeout: float) -> None:
        task_ready(r)
        fail(self.task, r._context, TimeLimit(f"The stage exceeded its time limit of {timeout:g} s."))
        r.acknowledge()
        r.send_event("task-failed", exception=f"TimeLimit({timeout:g} s)", traceback="")

    def on_failure(self, exc_info: ExceptionInfo) -> None:
        """The child died, was terminated or exceeded the time limit."""
        exc = exc_info.exception
        exc = exc.exc if isinstance(exc, ExceptionWithTraceback) else exc
        self._held.child_died()
        if isinstance(exc, Terminated):  # requeue all but the revoked requests, which have ended
            gone = [r for r in self.requests if r._already_revoked or r._already_cancelled]
            self.requests = [r for r in self.requests if r not in gone]
            self._each(self._requeue)
        elif isinstance(exc, TimeLimitExceeded):  # on_timeout follows
            self._split = len(self.requests) > 1
            if self._split:  # the cause may be any of them
                logger.warning(
                    "A batch of %d of %s exceeded its time limit: each message now runs alone",
                    *(len(self.requests), self.name),
                )
                self._each(self._requeue)
        elif isinstance(exc, WorkerLostError):
            self._requeue_lost(str(exc))
        else:  # the whole call failed, not one message: out of memory, or a result that cannot be sent
            self._requeue_lost(f"the call failed ({type(exc).__name__})")

    def _requeue_lost(self, error: str) -> None:
        logger.error("A batch of %s was lost: %s. Requeueing %d message(s)", self.name, error, len(self.requests))

        def lost(_: int, r: Request) -> None:
            task_ready(r)
            tag, qos = r.message.delivery_tag, r.message.channel.qos
            if self._has_ended(r):  # its success was stored before the child died
                r.acknowledge()
            elif self._held.stopping:  # the child got the stop signal too: not the message's fault
                qos.restore_by_tag(tag, uncounted=True)
            else:
                qos.crashed(tag, error)
                r.reject(requeue=True)

        self._each(lost)

    def _has_ended(self, r: Request) -> bool:
        try:
            return self.task.has_ended(r.id)
        except Exception as exc:  # noqa: BLE001  (Redis is down: the next delivery checks again)
            logger.warning("Cannot check whether task %s has ended: %r", r.id, exc)
            return False

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.task.name)


def _reason(failure: ExceptionInfo) -> str | None:
    """Return the reason of a Reject, None for any other failure."""
    exc = getattr(failure, "exception", None)
    exc = exc.exc if isinstance(exc, ExceptionWithTraceback) else exc
    return str(exc.reason) if isinstance(exc, Reject) else None


def fail(task: Task, request: Context, exc: GolemError) -> None:
    """Fail a task from the parent as its tracer would in the child: store the result, fail the rest of its chain, call
    errbacks and `on_failure`. `request`: a Celery Context with args, kwargs and chain."""
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
    """A proxy of the consumer for Celery's default strategy that collects requests instead of running them."""

    def __init__(self, consumer: Request, collect: Callable[[Any], None]) -> None:
        self._consumer, self.on_task_request = consumer, collect

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def batch_strategy(task: BatchTask, app: Any, consumer: Request) -> Any:
    """The execution strategy of a BatchTask: makes one Batch of the messages of one take."""
    submit, held = consumer.on_task_request, consumer.context.held
    pending: list[Request] = []

    def collect(request: Request) -> None:
        if request.delivery_info["redelivered"] or request.request_dict.get("retries"):
            submit(Batch(task, [request], held))
            return
        if not pending:
            consumer.call_soon(flush)  # the next loop iteration: by then the whole take is delivered
        pending.append(request)

    def flush() -> None:
        requests, pending[:] = pending[:], []
        submit(Batch(task, requests, held))

    strategy: Callable[..., None] = default(task, app, _Collecting(consumer, collect))
    return strategy
