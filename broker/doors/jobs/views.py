"""What clients are shown of jobs and groups: the records of this API, for answers, events and the schema alike."""

from typing import Literal

from pydantic import BaseModel, Field

from golem_chain.broker.jobs.groups import End, GroupStatus
from golem_chain.broker.jobs.summaries import Summary
from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import Intent, Outcome, Transcript

JobState = Literal["waiting", "running", "done", "failed", "cancelled", "expired"]


class Problem(BaseModel):
    """Why something failed."""

    code: str = Field(description="For programs; it does not change", examples=["bad_audio"])
    message: str = Field(description="One sentence", examples=["clip.wav is not audio."])


class JobView(BaseModel):
    """A job in short."""

    id: str = Field(examples=["8b1c55d0f2c94a0b9a3d6f1e7c2b4a90"])
    name: str = Field(description="What it was submitted as", examples=["kitchen.wav"])
    state: JobState = Field(description="`running` while a worker has it in hand")
    stage: str | None = Field(description="The stage that it waits for or is in; null once it has ended")
    lane: str = Field(description="`interactive` or `bulk`")
    group: str | None = None
    submitted_at: float = Field(description="Unix seconds, the queue's clock")
    ended_at: float | None = Field(description="Likewise; null while it has not ended")
    error: Problem | None = Field(description="Why it failed, was cancelled or expired")
    intent: str | None = Field(description="The label, once it is known", examples=["lights_on"])
    text: str | None = Field(description="What was said, its first 200 characters", examples=["Turn on the lights."])
    heard_s: float | None = Field(description="Of a long recording that is being transcribed: seconds that were")
    duration_s: float | None = Field(description="Its length, seconds; null for any other job")


class JobDetail(JobView):
    """A job with its results as far as they are there."""

    outcome: Outcome | None = Field(description="How it ended, with all results; null while it has not")
    transcript: Transcript | None = Field(description="Of the Scribe, once it has finished")
    intent_result: Intent | None = Field(description="Of the Interpreter, once it has finished")


class JobPage(BaseModel):
    """A page of the list, newest first."""

    jobs: list[JobView]
    next: str | None = Field(
        description="What `after` has to be for the next page; null at the end. A page can have fewer jobs than asked "
        "for, or none, and yet a next one: a request looks through a bounded number of jobs."
    )


class Accepted(BaseModel):
    """One of the jobs of a request."""

    id: str | None = Field(description="The id of the job; null if it was not accepted")
    name: str
    error: Problem | None = Field(description="Why it was not accepted")


class Submission(BaseModel):
    """What became of a request."""

    jobs: list[Accepted] = Field(description="In the order of the request")
    group: str | None = Field(description="The group of the jobs, which is made for several if none is given")


class GroupView(BaseModel):
    """The counters of a group."""

    group: str
    jobs: int = Field(description="Submitted so far")
    ended: int = Field(description="Ended in any state")
    done: int
    failed: int
    cancelled: int
    expired: int
    at: dict[str, int] = Field(description="By stage: jobs that wait for it or are in it")
    cancelled_at: float | None = Field(description="When the group was cancelled, Unix seconds; null if it was not")


class GroupEnd(BaseModel):
    """The end of a job of a group."""

    cursor: str = Field(description="Where to go on after this end", examples=["1764115200123-0"])
    id: str
    name: str | None = Field(description="Null once its Outcome is no longer kept")
    state: str
    outcome: Outcome | None = Field(description="Null once it is no longer kept")


class GroupEnds(BaseModel):
    """The next ends of a group, in their order, at most 200."""

    ends: list[GroupEnd]
    next: str = Field(description="What `since` has to be for those that follow")


def of_summary(one: Summary) -> JobView:
    """Return a job as it is shown. Pure."""
    problem = Problem(code=one.error.code.replace("-", "_"), message=one.error.message) if one.error else None
    state: JobState = next((state for state in _STATES if state == one.state), "failed")
    return JobView(
        id=one.job,
        name=one.name,
        state=state,
        stage=one.stage,
        lane=one.lane,
        group=one.group,
        submitted_at=one.submitted_at,
        ended_at=one.ended_at,
        error=problem,
        intent=one.intent,
        text=one.text,
        heard_s=one.heard[0] if one.heard else None,
        duration_s=one.heard[1] if one.heard else None,
    )


#: A state of no release of ours counts as failed.
_STATES: tuple[JobState, ...] = ("waiting", "running", "done", "failed", "cancelled", "expired")
#: Those of a job that has ended.
ENDED = frozenset(_STATES[2:])


def of_group(name: str, status: GroupStatus) -> GroupView:
    """Return the counters of a group as they are shown. Pure."""
    return GroupView(group=name, ended=status.ended, **status._asdict())


def of_end(end: End) -> GroupEnd:
    """Return the end of a group's job as it is shown. Pure."""
    name = end.outcome.name if end.outcome else None
    return GroupEnd(cursor=end.cursor, id=end.job, name=name, state=end.state, outcome=end.outcome)


def of_error(exc: GolemError) -> Problem:
    """Return why a job was not accepted. Pure."""
    return Problem(code=exc.code.replace("-", "_"), message=exc.message)
