"""One job: look at it, cancel it, move it to the head of the queue, fetch its results."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from golem_chain.broker.asynchronous.owned import OwnedPipeline
from golem_chain.broker.doors.door import TheCaller, TheDoor
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.jobs import views
from golem_chain.broker.doors.jobs.downloads import MEDIA_TYPES, disposition
from golem_chain.broker.doors.jobs.schema import JobId, failing
from golem_chain.broker.doors.jobs.views import JobDetail, JobView
from golem_chain.broker.jobs.subtitles import render
from golem_chain.shared.records import Intent, Outcome, Transcript

router = APIRouter(tags=["jobs"])
#: The forms of a result, those of MEDIA_TYPES.
Format = Literal["json", "srt", "vtt", "txt", "tsv"]
_UNKNOWN = failing(s404="There is no such job")


@router.get("/v1/jobs/{id}", response_model=JobDetail, responses=_UNKNOWN)
async def get_job(id: JobId, door: TheDoor, caller: TheCaller) -> JobDetail:
    """Show a job with its results as far as they are there."""
    return await _detail(door.jobs_of(caller), id)


@router.delete("/v1/jobs/{id}", response_model=JobView, responses=_UNKNOWN)
async def cancel_job(id: JobId, door: TheDoor, caller: TheCaller) -> JobView:
    """Cancel a job: a stage that waits does not run, the result of a running one is dropped. A job that has ended stays
    as it is."""
    jobs = door.jobs_of(caller)
    await jobs.cancel(id)
    return views.of_summary(await jobs.summary(id))


@router.post(
    "/v1/jobs/{id}/next", response_model=JobView, responses=_UNKNOWN | failing(s409="The job has already ended")
)
async def next_job(id: JobId, door: TheDoor, caller: TheCaller) -> JobView:
    """Move a waiting job before all others, into the interactive lane."""
    jobs = door.jobs_of(caller)
    if not await jobs.promote(id):
        raise HttpError(409, f"Job {id} has already ended: it cannot be moved.", "already_ended")
    return views.of_summary(await jobs.summary(id))


@router.get(
    "/v1/jobs/{id}/result",
    response_class=Response,
    responses={200: {"description": "The file", "content": {media: {} for media in MEDIA_TYPES.values()}}}
    | _UNKNOWN
    | failing(s409="The job has no transcript, or has not ended"),
)
async def get_result(
    id: JobId,
    door: TheDoor,
    caller: TheCaller,
    format: Annotated[Format, Query(description="json: the whole Outcome; the others: the transcript")] = "json",
) -> Response:
    """Download the result: the whole Outcome as JSON, or the transcript as text, table or subtitles, which is there
    once the Scribe has finished."""
    job = await _detail(door.jobs_of(caller), id)
    outcome = job.outcome
    if format != "json" and job.transcript:
        outcome = outcome or Outcome(job=id, name=job.name, state="done")
        outcome = outcome.model_copy(update={"transcript": job.transcript})
    elif format != "json" and outcome:
        why = f": {outcome.error.message}" if outcome.error else "."
        raise HttpError(409, f"Job {id} has ended without a transcript{why}", "no_transcript")
    if outcome is None:
        what = "Outcome" if format == "json" else "transcript"
        raise HttpError(409, f"Job {id} has no {what} yet: follow /v1/jobs/{id}/events.", "not_ready")
    headers = {"content-disposition": disposition(job.name, format)}
    return Response(render(outcome, format), media_type=MEDIA_TYPES[format], headers=headers)


async def _detail(jobs: OwnedPipeline, id: str) -> JobDetail:
    one = await jobs.summary(id)
    outcome = await jobs.outcome(id) if one.state in views.ENDED else None
    transcript, intent = (outcome.transcript, outcome.intent) if outcome else await _answers(jobs, id)
    shown = views.of_summary(one).model_dump()
    return JobDetail(**shown, outcome=outcome, transcript=transcript, intent_result=intent)


async def _answers(jobs: OwnedPipeline, id: str) -> tuple[Transcript | None, Intent | None]:
    """Return what the stages that have finished answered."""
    handover = (await jobs.record(id)).handover
    return (handover.transcript, handover.intent) if handover else (None, None)
