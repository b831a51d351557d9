"""Three thin tasks, one for each stage: a batch of handovers in, a batch of handovers out, errors one by one.

message ─► stored before? ─► ask ─► serve() ─► store the answer ─► handover for the next stage
              │ ended: nothing                     └ the last one, or silence: the Outcome
"""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery
from pydantic import ValidationError

from golem_chain.broker.jobs.records import Finished
from golem_chain.broker.queues import STAGES, task_name
from golem_chain.shared.errors import BadRequest, GolemError, OutOfMemory, RetryableError, TimeLimit, TooManyDeliveries
from golem_chain.shared.records import Failure, Handover, StageRun
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import requests
from golem_chain.workers.child.batch_task import BatchTask, Call
from golem_chain.workers.child.cancellation import BrokenOff
from golem_chain.workers.child.runtime import Build, ChildRuntime

if TYPE_CHECKING:
    from golem_chain.workers.residency.runner import Served

logger = logging.getLogger(__name__)


class StageTask(BatchTask):
    """One stage for several jobs at once."""

    abstract = True
    place: ChildRuntime

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """As BatchTask; a job that has ended takes the rest of its chain with it."""
        result = super().run(*args, **kwargs)
        if "ended" in result:
            self.request.chain = None
        return result

    def run_batch(self, calls: Sequence[Call]) -> list[Any | Exception]:
        """A handover for the next stage, `{"ended": job}`, or the error that ends it, for each call."""
        started = time.time()
        results: list[Any] = [_parsed(call) for call in calls]
        told = [n for n, result in enumerate(results) if isinstance(result, Handover)]
        try:
            found = dict(zip(told, self.place.jobs.finished([results[n].job.id for n in told]), strict=True))
            todo = []
            for n in told:
                results[n] = self._before(results[n], found[n])
                if not isinstance(results[n], dict | Exception):
                    todo.append(n)
            while (served := self._serve([results[n] for n in todo])) is None:  # the others begin again, at once
                gone = self.place.outcomes.ended([results[n][0].job.id for n in todo])
                for n in [n for n in todo if results[n][0].job.id in gone]:
                    todo.remove(n)
                    results[n] = {"ended": results[n][0].job.id}
            for n, answer in zip(todo, served.answers, strict=True):
                results[n] = self._after(results[n][0], answer, self._cost(served, started, calls[n].sent_at))
            self.place.jobs.store((self.stage, results[n]) for n in todo if isinstance(results[n], Handover))
            return [self._on(result) if isinstance(result, Handover) else result for result in results]
        except redis.RedisError as exc:  # away for longer than the client tried: each goes back
            raise RetryableError(f"Redis is away: {type(exc).__name__}.") from exc

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Write the Outcome. Also called in the parent, for a time limit or a dead letter."""
        del args, kwargs, einfo
        job = task_id.rpartition(".")[0]
        if job:
            self.place.outcomes.end(job, "failed", failure_of(exc, self.stage))

    def load_costs(self) -> dict[str, float]:
        """Measured seconds of a load by stage."""
        return dict(self.place.standing.load_costs) if self.place.standing else {}

    def resident(self) -> frozenset[str] | None:
        """The stages whose models are loaded."""
        return frozenset(self.place.residency.resident) if self.place.residency else frozenset()

    # -- one job

    def _before(self, handover: Handover, found: Finished) -> Any:
        """What is known without the engine (an end, a stored answer's handover, an error), else (handover, ask)."""
        job = handover.job.id
        if found.ended or not found.known:  # ended so long ago that it is forgotten, or never claimed
            return {"ended": job}
        try:
            if found.has(self.stage):  # it was stored, and its worker died before the next message was sent
                stored = handover.model_copy(
                    update={"transcript": found.transcript, "intent": found.intent, "reply": found.reply}
                )
                return self._on(stored)
            return handover, self.place.asks.of(self.stage, handover)
        except GolemError as exc:
            return exc

    def _serve(self, todo: Sequence[tuple[Handover, object]]) -> "Served | None":
        """What the engine gives; None where the batch was broken off."""
        from golem_chain.workers.residency.runner import Served

        if not todo:
            return Served()
        try:
            return self.place.serve(self.stage, [handover.job.id for handover, _ in todo], [ask for _, ask in todo])
        except GolemError as exc:
            return Served(answers=[exc] * len(todo))
        except BrokenOff:
            logger.info("A batch of the %s was broken off: one of its jobs has ended", self.stage)
            return None

    def _after(self, handover: Handover, answer: object, cost: StageRun) -> Any:
        """The handover with the answer, or the error."""
        if isinstance(answer, Exception):
            return answer
        try:
            return requests.taken(handover, self.stage, answer, cost)
        except GolemError as exc:
            return exc

    def _on(self, handover: Handover) -> dict[str, Any]:
        """The message of the next stage; or, for a job that ends here, its Outcome and no message."""
        if requests.silent(handover):
            self.place.outcomes.end(handover.job.id, "done", intent=requests.SILENCE)
        elif self.stage == STAGES[-1]:
            self.place.outcomes.end(handover.job.id, "done")
        else:
            return requests.light(handover).wire()
        return {"ended": handover.job.id}

    def _cost(self, served: "Served", started: float, sent_at: float | None) -> StageRun:
        return StageRun(
            queued_s=round(max(0.0, started - sent_at), 4) if sent_at else 0.0,
            load_s=round(served.load_s, 4),
            compute_s=round(served.compute_s, 4),
            batch_size=max(1, served.batch_size),
            device=served.device,
            peak_bytes=served.peak_bytes,
            worker=self.place.node,
        )


def failure_of(exc: BaseException, stage: str) -> Failure:
    """What an Outcome says of an error: our own sentence, or one about what Celery or Python raised."""
    if isinstance(exc, GolemError):
        return Failure(code=exc.code, message=exc.message)
    name = type(exc).__name__
    if name in ("TimeLimitExceeded", "SoftTimeLimitExceeded"):
        return Failure(code=TimeLimit.code, message=f"The {stage} ran past its time limit: raise GOLEM_TIME_LIMIT_S.")
    if name in ("WorkerLostError", "Terminated"):
        return Failure(
            code=TooManyDeliveries.code, message=f"The {stage} lost its worker process each time: see the worker's log."
        )
    if isinstance(exc, MemoryError):
        return Failure(code=OutOfMemory.code, message=f"The {stage} ran out of memory: lower GOLEM_BATCH.")
    return Failure(code=GolemError.code, message=f"The {stage} failed unexpectedly ({name}): see the worker's log.")


def register(app: Celery, settings: Settings, build: Build | None = None) -> dict[str, BatchTask]:
    """Add the three tasks to an app; -> stage: task. `build` makes the residency, None: the engines of the settings.

    Nothing is loaded and no device is touched before the first message.
    """
    node = app.conf.broker_transport_options.get("box") or "golem"
    place = ChildRuntime(app, settings, build, node)
    tasks: dict[str, BatchTask] = {}
    for stage in STAGES:
        fields = {"name": task_name(stage), "stage": stage, "place": place, "__module__": __name__}
        tasks[stage] = app.register_task(type(stage.title(), (StageTask,), fields)())
    return tasks


def _parsed(call: Call) -> Handover | BadRequest:
    try:
        return Handover.model_validate(call.args[0])
    except (ValidationError, IndexError) as exc:
        return BadRequest(f"The message {call.task_id[:80]} is not a job ({type(exc).__name__}): submit it again.")
