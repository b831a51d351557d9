"""The three tasks, one per stage. Each runs the messages of one take together and finishes every one by itself.

message ─► the job's record ─► request ─► serve() ─► answer ─► one script: store it, publish the next message or write
              │ ended: nothing                                the Outcome, delete the booking
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from celery import Celery, Task

from golem_chain.broker.connection import is_absence
from golem_chain.broker.jobs.stages import Step
from golem_chain.broker.queues import STAGES, task_name
from golem_chain.broker.transport.message import Lease
from golem_chain.shared.errors import BadRequest, BrokerAway, GolemError, OutOfMemory, RetryableError
from golem_chain.shared.records import Handover, StageRun, State
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import requests, steps
from golem_chain.workers.child.batch import BatchReport, Call, End, How
from golem_chain.workers.child.cancellation import BrokenOff, GaveWay
from golem_chain.workers.child.runtime import Build, ChildRuntime
from golem_chain.workers.devices.faults import first_line, is_out_of_memory

if TYPE_CHECKING:
    from golem_chain.workers.residency.spent import Spent

logger = logging.getLogger(__name__)


class Pending(NamedTuple):
    """A job of a batch that needs the engine."""

    place: int  # index of its message in the batch
    handover: Handover
    request: object  # for the engine


class Run:
    """One batch while it runs: the ends of its messages so far."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls, self._began = calls, time.monotonic()
        self.ends: dict[int, End] = {}
        self.handovers: dict[int, Handover] = {}  # as stored; missing: the record cannot be read

    @property
    def open(self) -> list[int]:
        """The places of messages that have not ended."""
        return [place for place in range(len(self.calls)) if place not in self.ends]

    def end(self, place: int, how: How, error: BaseException | None = None) -> None:
        """Note how a message ended."""
        self.ends[place] = End(how, time.monotonic() - self._began, type(error).__name__ if error else "")


class StageTask(Task):
    """The task of one stage: what Celery's worker looks up, and its parent's ends of jobs."""

    abstract = True
    Strategy = "golem_chain.workers.parent.strategy:batch_strategy"
    Request = "golem_chain.workers.parent.strategy:StageRequest"
    ignore_result = True
    acks_late = True  # the message is acknowledged by the script that finishes it
    stage: str = ""
    runtime: ChildRuntime

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Not used: messages come through our strategy."""
        raise NotImplementedError

    def run_batch(self, calls: Sequence[Call]) -> BatchReport:
        """Run the messages together and finish each as soon as its answer is known."""
        run = Run(calls)
        try:
            self._run(run)
        except (BrokerAway, redis.RedisError) as exc:
            self._close_open(run, exc)
        except Exception as exc:  # noqa: BLE001  (the cause shows when each message runs alone)
            self.runtime.end_if_broken(exc)
            logger.warning("A batch of %d of the %s failed: %r", len(calls), self.stage, exc)
            self._close_open(run, exc)
        ends = [run.ends[place] for place in range(len(calls))]
        return BatchReport(ends, self._resident(), self._load_costs())

    def end_job(self, job: str, lease: Lease, state: State, error: GolemError) -> None:
        """End a job whose message is in hand, from the parent: its stage exceeded the time limit, or was revoked.
        Raises redis.RedisError."""
        handover = self.runtime.parents_jobs.finished([job])[0].handover
        step = steps.ended(job, handover, state, steps.failure_of(error, self.stage))
        self.runtime.parents_stages.finish(lease, job, handover.job if handover else None, step)

    # -- the steps of a batch

    def _run(self, run: Run) -> None:
        """Run the batch; if it is interrupted because some of its jobs have ended, run the others again immediately. If
        it gives way to an interactive job, what has no answer yet ends as yielded."""
        pending = self._prepare(run)
        while pending:
            jobs = [one.handover.job.id for one in pending]

            def give(place: int, answer: object, spent: "Spent", given: Sequence[Pending] = pending) -> None:
                self._answer(run, given[place], answer, spent)

            try:
                go_on = [steps.goes_on(self.stage, one.handover.job) for one in pending]
                asked = [one.request for one in pending]
                hurried = [n for n, one in enumerate(pending) if run.calls[one.place].lane == "interactive"]
                hurried_go_on = any(go_on[n] for n in hurried)
                served = self.runtime.serve(
                    *(self.stage, jobs, asked, give),
                    next_stage=steps.next_needed(self.stage, [(one.handover.job, one.request) for one in pending]),
                    interactive=hurried,
                    interactive_go_on=hurried_go_on,
                    pilot=any(run.calls[one.place].pilot for one in pending),
                    waited_s=[run.calls[one.place].waited_s for one in pending],
                )
                for place in served.put_off:
                    run.end(pending[place].place, How.PUT_OFF)
                for place in served.yielded:
                    run.end(pending[place].place, How.YIELDED)
            except GaveWay:
                logger.info("A batch of the %s gives way to an interactive job", self.stage)
                for place in run.open:
                    run.end(place, How.YIELDED)
            except BrokenOff:
                logger.info("A batch of the %s was interrupted: one of its jobs has ended", self.stage)
            still = set(run.open)
            gone = self.runtime.outcomes.ended([one.handover.job.id for one in pending if one.place in still])
            for one in pending:
                if one.place in still and one.handover.job.id in gone:  # if it has not ended, its group is cancelled
                    self._finish(run, one.place, steps.cancelled(one.handover))
            still = set(run.open)
            pending = [one for one in pending if one.place in still]

    def _answer(self, run: Run, one: Pending, answer: object, spent: "Spent") -> None:
        """Finish a message whose answer is ready."""
        if isinstance(answer, Exception):
            self._fail(run, one.place, answer)
            return
        cost = self._cost(spent, run.calls[one.place].waited_s)
        try:
            handover = requests.taken(one.handover, self.stage, answer, cost)
        except GolemError as exc:
            self._fail(run, one.place, exc)
            return
        self._finish(run, one.place, steps.after(self.stage, handover))

    def _prepare(self, run: Run) -> list[Pending]:
        """Return the jobs that need the engine, each with its request; finish the others."""
        found = self.runtime.jobs.finished([call.job for call in run.calls])
        pending: list[Pending] = []
        seen: set[str] = set()
        cancelled = self.runtime.jobs.cancelled(known.group for known in found if known.group)
        for place, (call, known) in enumerate(zip(run.calls, found, strict=True)):
            # it has ended or expired after its end, was never submitted, or its message is there twice
            over = known.ended or not known.known or call.job in seen
            if over or not known.is_current(call.lease.tag):
                self._finish(run, place, steps.NOTHING)
                continue
            handover = known.handover
            if handover is None:
                seen.add(call.job)
                self._fail(run, place, BadRequest("The record of this job is malformed: submit the job again."))
                continue
            earlier = STAGES[: STAGES.index(self.stage)]
            if self.stage not in handover.job.wanted or not all(known.has(one) for one in earlier):
                logger.warning("A message for job %s came out of its turn and is dropped: it is forged", call.job)
                self._finish(run, place, steps.NOTHING)
                continue
            seen.add(call.job)
            run.handovers[place] = handover
            if known.overdue or known.group in cancelled:
                self._finish(run, place, (steps.expired if known.overdue else steps.cancelled)(handover))
                continue
            if known.has(self.stage):  # by a worker of 0.1 or 0.2 that died before it published the next message
                self._finish(run, place, steps.after(self.stage, handover, computed=False))
                continue
            try:
                pending.append(Pending(place, handover, self.runtime.requests.of(self.stage, handover)))
            except GolemError as exc:
                self._fail(run, place, exc)
        return pending

    # -- the end of a message

    def _finish(self, run: Run, place: int, step: Step, error: Exception | None = None) -> None:
        call, how = run.calls[place], How.DONE
        if error is not None:
            how = How.AGAIN if step.follows == "publish" else How.FAILED
        handover = run.handovers.get(place)
        kept = self.runtime.stages.finish(call.lease, call.job, handover.job if handover else None, step)
        run.end(place, how if kept else How.LOST, error)

    def _fail(self, run: Run, place: int, exc: Exception) -> None:
        call = run.calls[place]
        if not isinstance(exc, GolemError) and is_out_of_memory(exc):  # outside of a batch, which would be halved
            exc = OutOfMemory(
                f"The {self.stage} ran out of memory ({first_line(exc)}): close other programs that use the device, or "
                "lower GOLEM_BATCH."
            )
        if not isinstance(exc, GolemError):
            logger.error("The %s failed for job %s", self.stage, call.job, exc_info=exc)
        step = steps.after_error(self.stage, call.job, run.handovers.get(place), exc, call.retries)
        self._finish(run, place, step, exc)

    def _close_open(self, run: Run, exc: Exception) -> None:
        """End the messages that are still open when the batch failed as a whole: a lone one fails for good, several are
        requeued to run alone. While Redis is down, all are requeued unharmed."""
        away = isinstance(exc, BrokerAway) or (isinstance(exc, redis.RedisError) and is_absence(exc))
        if away:
            logger.warning("%d message(s) of the %s are requeued: Redis is unavailable", len(run.open), self.stage)
        if not away and len(run.calls) == 1 and run.open:
            refused = isinstance(exc, redis.RedisError)
            error = RetryableError(f"Redis refused a command: {type(exc).__name__}.") if refused else exc
            with suppress(redis.RedisError):
                self._fail(run, 0, error)
        for place in run.open:
            run.end(place, How.AWAY if away else How.ALONE, exc)

    def _load_costs(self) -> dict[str, float]:
        """Return load times measured by this process, by stage, seconds: the scheduler's costs of a switch."""
        return dict(self.runtime.standing.load_costs) if self.runtime.standing else {}

    def _resident(self) -> frozenset[str]:
        """Return the stages whose models are loaded."""
        return frozenset(self.runtime.residency.resident) if self.runtime.residency else frozenset()

    def _cost(self, spent: "Spent", waited_s: float) -> StageRun:
        return StageRun(
            queued_s=round(waited_s + spent.waited_s, 4),
            load_s=round(spent.load_s, 4),
            compute_s=round(spent.compute_s, 4),
            batch_size=max(1, spent.batch_size),
            device=spent.device,
            peak_bytes=spent.peak_bytes,
            worker=self.runtime.node,
        )


def register(app: Celery, settings: Settings, build: Build | None = None) -> None:
    """Register the three tasks with an app. `build` makes the residency, None: that of the settings.

    Nothing is loaded and no device is touched before the first message.
    """
    node = app.conf.broker_transport_options.get("box") or "golem"
    runtime = ChildRuntime(app, settings, build, node)
    for stage in STAGES:
        fields = {"name": task_name(stage), "stage": stage, "runtime": runtime, "__module__": __name__}
        app.register_task(type(stage.title(), (StageTask,), fields)())
