"""Batches in the parent: the messages of one take become one pool job.

Each message keeps its own Request (events, revokes, limits). Redelivered and retried messages run alone, so that a
poison message cannot fail its neighbours twice. The child finishes each message by itself; the parent tells Celery how,
and requeues what the child could not finish. Relies on private parts of Celery 5.7: `strategy.default` and
`Request._announce_revoked`.
"""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

import redis
from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.pool import ApplyResult
from celery.concurrency.prefork import TaskPool
from celery.exceptions import TaskRevokedError, Terminated, TimeLimitExceeded, WorkerLostError
from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.state import revoked, task_ready
from celery.worker.strategy import default

from golem_chain.broker.queues import job_of
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.broker.transport.message import PUT_OFF, Lease
from golem_chain.shared.errors import Cancelled, GolemError, TimeLimit
from golem_chain.shared.records import State
from golem_chain.workers.child.batch import BatchReport, Call, End, How, run_together
from golem_chain.workers.child.tasks import StageTask
from golem_chain.workers.parent.card_health import CardHealth

logger = get_logger(__name__)


def call_of(r: Request) -> Call:
    """Return what the child gets of a message."""
    headers = r.request_dict
    lease = Lease(*headers["lease"])
    return Call(job_of(r.id), lease, headers["retries"], headers["waited_s"], headers["lane"], headers["pilot"])


class StageRequest(Request):
    """A Request whose job ends when its task is revoked, for example in Flower."""

    def _announce_revoked(self, reason: str, terminated: bool, signum: int | None, expired: bool) -> None:
        end_job(self, "cancelled", Cancelled("The job's task was revoked."))
        super()._announce_revoked(reason, terminated, signum, expired)
        revoked.discard(self.id)  # the id may be submitted again


def end_job(r: Request, state: State, error: GolemError) -> None:
    """End the job of a message in hand. While Redis is down, the message is requeued when it is back, and runs."""
    call, qos = call_of(r), r.message.channel.qos
    try:
        r.task.end_job(call.job, call.lease, state, error)
        qos.finished(call.lease.tag, call.lease.delivery)
    except (redis.RedisError, OSError) as exc:
        logger.warning("Job %s cannot be ended while Redis is down: %s", call.job, exc)
        qos.requeue(call.lease.tag, call.lease.delivery, uncounted=True)
    r.acknowledged = True


class Batch:
    """Several Requests as one pool job, with the interface of one Request. A single message is a batch of one."""

    def __init__(self, task: StageTask, requests: Sequence[Request], held: ConsumerState, card: CardHealth) -> None:
        self.task, self.requests, self._held, self._card = task, list(requests), held, card
        self._split = False

    def execute_using_pool(self, pool: TaskPool, **_: Any) -> ApplyResult:
        """Send the batch to the child. Raises TaskRevokedError if all its messages were revoked."""
        self.requests = [r for r in self.requests if not r.revoked()]
        if not self.requests:
            raise TaskRevokedError
        result = pool.apply_async(
            run_together,
            args=(self.task.name, [call_of(r) for r in self.requests]),
            accept_callback=self.on_accepted,
            timeout_callback=self.on_timeout,
            callback=self.on_success,
            error_callback=self.on_failure,
            correlation_id=self.requests[0].id,
        )
        for r in self.requests:
            r._apply_result = ref(result) if result is not None else None
        self.result = result  # the requests hold only weak references
        return result

    def _each(self, call: Callable[[int, Request], object], *, backwards: bool = False) -> None:
        numbered = list(enumerate(self.requests))
        for n, r in reversed(numbered) if backwards else numbered:
            try:
                call(n, r)
            except Exception:
                logger.exception("Task %s could not be completed", r.id)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """The child has started the batch."""
        self._each(lambda _, r: r.on_accepted(pid, time_accepted))

    def on_success(self, report: BatchReport) -> None:
        """The child has run the batch; the report tells how each message ended."""
        self._card.worked()
        self._held.learned(report.resident, report.load_costs)
        self._each(lambda n, r: self._end(r, report.ends[n]), backwards=True)  # each goes to the head of its queue

    def _end(self, r: Request, end: End) -> None:
        qos, (tag, _, delivery) = r.message.channel.qos, call_of(r).lease
        task_ready(r, successful=end.how is How.DONE)
        if end.how in (How.ALONE, How.AWAY, How.PUT_OFF, How.YIELDED):
            error = PUT_OFF if end.how is How.PUT_OFF else end.error
            qos.requeue(tag, delivery, uncounted=end.how is not How.ALONE, error=error)
            r.send_event("task-rejected", requeue=True)
            return
        qos.finished(tag, delivery)
        if end.how is How.DONE:
            r.send_event("task-succeeded", result="…", runtime=end.seconds)  # a result contains words of users
        elif end.how is How.FAILED:
            r.send_event("task-failed", exception=f"{end.error}()", traceback="")
        elif end.how is How.AGAIN:
            r.send_event("task-retried", exception=f"{end.error}()", traceback="")
        else:
            logger.warning("Task %s had been delivered again: its lease was lost", r.id)
            r.send_event("task-rejected", requeue=False)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The child hangs (`HangWatch`); billiard calls this between on_failure and killing it."""
        del soft
        if not self._split:
            self._each(lambda _, r: self._fail_timed_out(r, timeout))

    def _fail_timed_out(self, r: Request, timeout: float) -> None:
        task_ready(r)
        end_job(r, "failed", TimeLimit(f"The stage exceeded its time limit of {timeout:g} s."))
        r.send_event("task-failed", exception=f"TimeLimit({timeout:g} s)", traceback="")

    def on_failure(self, exc_info: ExceptionInfo) -> None:
        """The child died, was terminated or exceeded the time limit."""
        exc = exc_info.exception
        exc = exc.exc if isinstance(exc, ExceptionWithTraceback) else exc
        self._held.child_died()
        if isinstance(exc, Terminated):  # requeue all but the revoked requests, which have ended
            gone = [r for r in self.requests if r._already_revoked or r._already_cancelled]
            self.requests = [r for r in self.requests if r not in gone]
            self._each(lambda _, r: self._requeue(r, uncounted=True))  # they are not to blame
        elif isinstance(exc, TimeLimitExceeded):  # on_timeout follows
            self._split = len(self.requests) > 1
            if self._split:  # the cause may be any of them
                logger.warning(
                    "A batch of %d of %s exceeded its time limit: each message now runs alone",
                    *(len(self.requests), self.name),
                )
                self._each(lambda _, r: self._requeue(r))
        elif isinstance(exc, WorkerLostError):
            words = self.task.runtime.lifeline.last_words(self.result._worker_pid)
            if words:
                self._card.broke(words)
            self._requeue_lost(words or str(exc))
        else:  # the whole call failed, not one message: out of memory, or a result that cannot be sent
            self._requeue_lost(f"the call failed ({type(exc).__name__})")

    def _requeue_lost(self, error: str) -> None:
        logger.error("A batch of %s was lost: %s. Requeueing %d message(s)", self.name, error, len(self.requests))
        self._each(lambda _, r: self._requeue(r, error))

    def _requeue(self, r: Request, error: str = "", *, uncounted: bool = False) -> None:
        """Requeue a message, unless the child had finished it. If the worker stops, the child got the stop signal too:
        not the message's fault."""
        task_ready(r)
        tag, _, delivery = call_of(r).lease
        r.message.channel.qos.requeue(tag, delivery, uncounted=uncounted or self._held.stopping, error=error)
        r.send_event("task-rejected", requeue=True)

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.task.name)


class _Collecting:
    """A proxy of the consumer for Celery's default strategy that collects requests instead of running them."""

    def __init__(self, consumer: Request, collect: Callable[[Any], None]) -> None:
        self._consumer, self.on_task_request = consumer, collect

    def apply_eta_task(self, request: Request) -> None:
        """As the consumer's, for a message whose delay is over, but collects it too."""
        self._consumer.apply_eta_task.__func__(self, request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def batch_strategy(task: StageTask, app: Any, consumer: Request) -> Any:
    """The execution strategy of a stage: makes one Batch of the messages of one take."""
    submit, held, card = consumer.on_task_request, consumer.context.held, consumer.context.card
    pending: list[Request] = []

    def collect(request: Request) -> None:
        if request.delivery_info["redelivered"] or request.request_dict.get("retries"):
            submit(Batch(task, [request], held, card))
            return
        if not pending:
            consumer.call_soon(flush)  # the next loop iteration: by then the whole take is delivered
        pending.append(request)

    def flush() -> None:
        requests, pending[:] = pending[:], []
        submit(Batch(task, requests, held, card))

    strategy: Callable[..., None] = default(task, app, _Collecting(consumer, collect))
    return strategy
