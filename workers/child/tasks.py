"""The three tasks, one per stage: a batch of handovers in, a batch of handovers out, with errors per message.

message ─► already stored? ─► request ─► serve() ─► store the answer ─► handover for the next stage
              │ ended: nothing                         └ last stage, or silence: the Outcome
"""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from celery import Celery
from celery.exceptions import Ignore
from pydantic import ValidationError

from golem_chain.broker.connection import is_absence
from golem_chain.broker.queues import STAGES, job_of, task_name
from golem_chain.shared.errors import (
    BadRequest,
    BrokerAway,
    GolemError,
    OutOfMemory,
    RetryableError,
    TimeLimit,
    TooManyDeliveries,
)
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Failure, Handover, StageRun
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import requests
from golem_chain.workers.child.batch_task import BatchTask, Call
from golem_chain.workers.child.cancellation import BrokenOff
from golem_chain.workers.child.runtime import Build, ChildRuntime

if TYPE_CHECKING:
    from golem_chain.workers.residency.runner import Served

logger = logging.getLogger(__name__)


#: The result of a message: the next stage's message, `{"ended": job}`, or the exception that ends it.
Result = JsonObject | Exception


class Pending(NamedTuple):
    """A job of a batch that needs the engine."""

    place: int  # index of its message in the batch
    handover: Handover
    request: object  # for the engine


class StageTask(BatchTask):
    """The task of one stage."""

    abstract = True
    runtime: ChildRuntime

    def continues(self, result: Any) -> bool:
        """Return False for a job that has ended: the rest of its chain does not run."""
        return "ended" not in result

    def run_batch(self, calls: Sequence[Call]) -> list[Result]:
        """Return for each call the next stage's message, `{"ended": job}`, or the exception that ends it.

        Raises RetryableError if Redis is unavailable for longer than the client retries.
        """
        started = time.time()
        results: dict[int, Result] = {}
        try:
            pending, served = self._run_until_uncancelled(self._prepare(calls, results), results)
            passed: dict[int, Handover] = {}
            for one, answer in zip(pending, served.answers, strict=True):
                if isinstance(answer, Exception):
                    results[one.place] = answer
                    continue
                cost = self._cost(served, started, calls[one.place].sent_at)
                try:
                    passed[one.place] = requests.taken(one.handover, self.stage, answer, cost)
                except GolemError as exc:
                    results[one.place] = exc
            self.runtime.jobs.store((self.stage, handover) for handover in passed.values())
            results |= {place: self._pass_on(handover) for place, handover in passed.items()}
            return [results[place] for place in range(len(calls))]
        except redis.RedisError as exc:
            if is_absence(exc):
                raise BrokerAway(f"Redis is unavailable: {type(exc).__name__}.") from exc
            raise RetryableError(f"Redis refused a command: {type(exc).__name__}.") from exc

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Write the Outcome `failed`. Also called in the parent, for a time limit or a dead letter."""
        del args, kwargs, einfo
        if job := job_of(task_id):
            self.runtime.outcomes.end(job, "failed", failure_of(exc, self.stage))

    def load_costs(self) -> dict[str, float]:
        """Return the measured load times by stage, seconds."""
        return dict(self.runtime.standing.load_costs) if self.runtime.standing else {}

    def resident(self) -> frozenset[str] | None:
        """Return the stages whose models are loaded."""
        return frozenset(self.runtime.residency.resident) if self.runtime.residency else frozenset()

    # -- the steps of a batch; `results` collects results that need no engine

    def _prepare(self, calls: Sequence[Call], results: dict[int, Result]) -> list[Pending]:
        """Return the jobs that need the engine, each with its request."""
        handovers: dict[int, Handover] = {}
        for place, call in enumerate(calls):
            try:
                handovers[place] = parse(call)
            except BadRequest as exc:
                results[place] = exc
        found = self.runtime.jobs.finished([handover.job.id for handover in handovers.values()])
        pending = []
        for (place, handover), known in zip(handovers.items(), found, strict=True):
            try:
                if known.ended:
                    results[place] = _ended(handover)
                elif not known.known:  # expired after its end, or a failover lost its record: it may be submitted again
                    results[place] = Ignore()  # stores no result, which would make the second message a duplicate
                elif known.has(self.stage):  # its worker died before publishing the next message
                    results[place] = self._pass_on(handover.model_copy(update=known.answers))
                else:
                    pending.append(Pending(place, handover, self.runtime.requests.of(self.stage, handover)))
            except GolemError as exc:
                results[place] = exc
        return pending

    def _run_until_uncancelled(
        self, pending: Sequence[Pending], results: dict[int, Result]
    ) -> "tuple[Sequence[Pending], Served]":
        """Run the batch; if it is interrupted because some of its jobs have ended, run the others again immediately."""
        from golem_chain.workers.residency.runner import Served

        while pending:
            jobs = [one.handover.job.id for one in pending]
            try:
                return pending, self.runtime.serve(self.stage, jobs, [one.request for one in pending])
            except GolemError as exc:
                return pending, Served(answers=[exc] * len(pending))
            except BrokenOff:
                logger.info("A batch of the %s was interrupted: one of its jobs has ended", self.stage)
            gone = self.runtime.outcomes.ended(jobs)
            results |= {one.place: _ended(one.handover) for one in pending if one.handover.job.id in gone}
            pending = [one for one in pending if one.handover.job.id not in gone]
        return pending, Served()

    def _pass_on(self, handover: Handover) -> JsonObject:
        """Return the next stage's message, or write the Outcome of a job that ends here."""
        if requests.silent(handover):
            self.runtime.outcomes.end(handover.job.id, "done", intent=requests.SILENCE)
        elif self.stage == STAGES[-1]:
            self.runtime.outcomes.end(handover.job.id, "done")
        else:
            return requests.light(handover).wire()
        return _ended(handover)

    def _cost(self, served: "Served", started: float, sent_at: float | None) -> StageRun:
        return StageRun(
            queued_s=round(max(0.0, started - sent_at), 4) if sent_at else 0.0,
            load_s=round(served.load_s, 4),
            compute_s=round(served.compute_s, 4),
            batch_size=max(1, served.batch_size),
            device=served.device,
            peak_bytes=served.peak_bytes,
            worker=self.runtime.node,
        )


def failure_of(exc: BaseException, stage: str) -> Failure:
    """Return the Failure for an exception: a GolemError's own message, or one sentence about any other."""
    if isinstance(exc, GolemError):
        return Failure(code=exc.code, message=exc.message)
    name = type(exc).__name__
    if name in ("TimeLimitExceeded", "SoftTimeLimitExceeded"):
        return Failure(code=TimeLimit.code, message=f"The {stage} exceeded its time limit: raise GOLEM_TIME_LIMIT_S.")
    if name in ("WorkerLostError", "Terminated"):
        return Failure(
            code=TooManyDeliveries.code, message=f"The {stage}'s process died at each delivery: see the worker's log."
        )
    if isinstance(exc, MemoryError):
        return Failure(code=OutOfMemory.code, message=f"The {stage} ran out of memory: lower GOLEM_BATCH.")
    return Failure(code=GolemError.code, message=f"The {stage} failed unexpectedly ({name}): see the worker's log.")


def register(app: Celery, settings: Settings, build: Build | None = None) -> dict[str, BatchTask]:
    """Register the three tasks with an app and return them by stage. `build` makes the residency, None: that of the
    settings.

    Nothing is loaded and no device is touched before the first message.
    """
    node = app.conf.broker_transport_options.get("box") or "golem"
    runtime = ChildRuntime(app, settings, build, node)
    tasks: dict[str, BatchTask] = {}
    for stage in STAGES:
        fields = {"name": task_name(stage), "stage": stage, "runtime": runtime, "__module__": __name__}
        tasks[stage] = app.register_task(type(stage.title(), (StageTask,), fields)())
    return tasks


def _ended(handover: Handover) -> JsonObject:
    """Return the result of a message whose job has ended."""
    return {"ended": handover.job.id}


def parse(call: Call) -> Handover:
    """Return the handover of a message. Raises BadRequest if it is malformed."""
    try:
        return Handover.model_validate(call.args[0])
    except (ValidationError, IndexError) as exc:
        raise BadRequest(
            f"The message {call.task_id[:80]} is malformed ({type(exc).__name__}): submit the job again."
        ) from None
