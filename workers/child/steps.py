"""Decides what follows a stage for one job: the next message, another try, or the Outcome. Pure functions."""

from collections.abc import Iterable

from golem_chain.broker.jobs.outcomes import deadline_passed
from golem_chain.broker.jobs.records import stored_answer
from golem_chain.broker.jobs.stages import Step
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import message
from golem_chain.shared.errors import Cancelled, GolemError, OutOfMemory
from golem_chain.shared.records import CHAIN, Failure, Handover, Job, Outcome, State
from golem_chain.workers.child import requests

#: Another try of a stage after a retryable error: how often, and the pause before the first, doubled with each.
RETRIES, BACKOFF_S = 3, 1.0
NOTHING = Step("nothing")


def after(stage: str, handover: Handover, *, computed: bool = True) -> Step:
    """Return what follows a stage whose answer the handover holds. `computed`: the answer is new, so it is stored,
    unless the Outcome has it. Silence answers for the Interpreter, if the job wanted it."""
    if not goes_on(stage, handover.job):
        return Step("end", outcome=_outcome(handover, "done"))
    if requests.silent(handover):
        handover = handover.model_copy(update={"intent": handover.intent or requests.SILENCE})
        return Step("end", outcome=_outcome(handover, "done"))
    answer = stored_answer(stage, handover) if computed else {}
    following = STAGES[STAGES.index(stage) + 1]
    return Step("publish", following, message.text(following, handover.job.id), answer=answer)


def goes_on(stage: str, job: Job) -> bool:
    """Return whether a later stage runs for the job, unless this one finds silence."""
    return stage != job.wanted[-1]


def next_needed(stage: str, jobs: Iterable[tuple[Job, object]]) -> str | None:
    """Return the earliest later stage whose model any of these jobs, each with its request of this stage, probably
    needs. A vocabulary of the labels' phrasings makes the Interpreter's needless: the chosen phrase has its intent."""
    found = set()
    for job, request in jobs:
        vocabulary = getattr(request, "vocabulary", None)
        needless = {"interpreter"} if vocabulary is not None and vocabulary.from_labels else set()
        later = job.wanted[job.wanted.index(stage) + 1 :] if stage in job.wanted else ()
        found |= {*[name for name in later if name not in needless][:1]}
    return min(found, key=STAGES.index, default=None)


def after_error(stage: str, job: str, handover: Handover | None, exc: Exception, retries: int) -> Step:
    """Return what follows a stage that failed after so many retries: another try if it can help, else the Outcome with
    what the earlier stages gave. `handover`: None if the job's record cannot be read."""
    if getattr(exc, "retryable", False) and retries < RETRIES:
        delay_s = BACKOFF_S * 2**retries
        return Step("publish", stage, message.text(stage, job, retries=retries + 1, delay_s=delay_s))
    return ended(job, handover, "failed", failure_of(exc, stage))


def ended(job: str, handover: Handover | None, state: State, failure: Failure) -> Step:
    """Return the end of a job that failed or was cancelled, with what its stages gave so far."""
    if handover is None:
        return Step("end", outcome=Outcome(job=job, name=job, state=state, error=failure))
    return Step("end", outcome=_outcome(handover, state, failure))


def cancelled(handover: Handover) -> Step:
    """Return the end of a job whose group was cancelled."""
    group = f"Its group {handover.job.group} was cancelled."
    return ended(handover.job.id, handover, "cancelled", Failure(code=Cancelled.code, message=group))


def expired(handover: Handover) -> Step:
    """Return the end of a job whose deadline has passed."""
    return ended(handover.job.id, handover, "expired", deadline_passed(handover.job))


def failure_of(exc: BaseException, stage: str) -> Failure:
    """Return the Failure for an exception: a GolemError's own message, or one sentence about any other."""
    if isinstance(exc, GolemError):
        return Failure(code=exc.code, message=exc.message)
    if isinstance(exc, MemoryError):
        return Failure(code=OutOfMemory.code, message=f"The {stage} ran out of memory: lower GOLEM_BATCH.")
    name = type(exc).__name__
    return Failure(code=GolemError.code, message=f"The {stage} failed unexpectedly ({name}): see the worker's log.")


def _outcome(handover: Handover, state: State, error: Failure | None = None) -> Outcome:
    job, answers = handover.job, {stage.field: getattr(handover, stage.field) for stage in CHAIN.values()}
    return Outcome(job=job.id, name=job.name, state=state, error=error, stages=handover.stages, **answers)
