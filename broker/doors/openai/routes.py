"""The routes of OpenAI's audio API: a request becomes an interactive job, and its Outcome the answer."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from golem_chain.broker.doors.door import Caller, Door, TheCaller, TheDoor
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.forms import read_form
from golem_chain.broker.doors.intake.options import options_of
from golem_chain.broker.doors.intake.requests import KEEPALIVE_S, outcome_of, submit, watch_outcome
from golem_chain.broker.doors.intake.sse import Event, EventStream
from golem_chain.broker.doors.openai import answers, failures, models, schema
from golem_chain.broker.doors.openai.asked import Asked, read
from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import Outcome, Task, Transcript

router = APIRouter(prefix="/v1", tags=["OpenAI"])

#: How long a request waits for its job, seconds. Clients give up earlier: the `openai` package after 600 s.
WAIT_S = 3600.0
#: How long after the request came the start of its stream waits for an error that has a status of its own, seconds.
HOLD_S = 0.1
#: How often a stream looks whether the Scribe is done while later stages run, seconds.
LOOK_S = 0.25
#: The header of an answer that names its job, for formats that have no place for it.
JOB_HEADER = "x-golem-job"


@router.post("/audio/transcriptions", responses=schema.HEARD, openapi_extra=schema.form(), response_class=Response)
async def transcriptions(request: Request, door: TheDoor, caller: TheCaller) -> Response:
    """Transcribe a recording in the language that is spoken."""
    return await _hear(request, door, caller, "transcribe")


@router.post("/audio/translations", responses=schema.HEARD, openapi_extra=schema.form(), response_class=Response)
async def translations(request: Request, door: TheDoor, caller: TheCaller) -> Response:
    """Transcribe a recording in English, whatever is spoken."""
    return await _hear(request, door, caller, "translate")


@router.get("/models", responses=schema.MODELS, response_class=Response)
async def list_models(door: TheDoor) -> Response:
    """List the models that the API names."""
    return JSONResponse(models.listed(await door.pipeline.checkpoints()))


@router.get("/models/{model:path}", responses=schema.MODEL, response_class=Response)
async def get_model(model: str, door: TheDoor) -> Response:
    """Describe one model."""
    return JSONResponse(models.found(model, await door.pipeline.checkpoints()))


async def _hear(request: Request, door: Door, caller: Caller, task: Task) -> Response:
    began = time.monotonic()
    with failures.naming_fields():
        asked = read(await read_form(request, door, caller), task)
        job = await _submitted(door, caller, asked)
    headers = {JOB_HEADER: job}
    if asked.stream:
        hold_s = max(0.0, began + HOLD_S - time.monotonic())
        return EventStream(door, _events(door, caller, asked, job), hold_s=hold_s, headers=headers)
    outcome = await _done(request, door, caller, job)
    if asked.format in ("json", "verbose_json"):
        return JSONResponse(answers.json_of(outcome, asked), headers=headers)
    kind = "text/vtt" if asked.format == "vtt" else "text/plain"
    return PlainTextResponse(answers.text_of(outcome, asked), headers=headers, media_type=kind)


async def _submitted(door: Door, caller: Caller, asked: Asked) -> str:
    """Submit the job and return its id."""
    await _check(door, asked)
    options = await options_of(lane="interactive", stored=door.jobs_of(caller).label_set, **asked.options)
    return await submit(door, caller, asked.file, options, identity="request")


async def _check(door: Door, asked: Asked) -> None:
    """Refuse what no Scribe here can do. The checkpoints are asked for only where they matter."""
    language = asked.options["language"]
    if asked.model in (None, *models.ACCEPTED) and asked.task == "transcribe" and language in (None, "en"):
        return
    checkpoints = await door.pipeline.checkpoints()
    models.check(asked.model, checkpoints)
    models.check_language(asked.file.name, asked.task, language, checkpoints)


async def _done(request: Request, door: Door, caller: Caller, job: str) -> Outcome:
    """Wait for the job. Raises HttpError if it did not end well, or not in time."""
    outcome = await outcome_of(door, caller, job, request, WAIT_S)
    if outcome is None:
        message = f"The job {job} has not ended after {WAIT_S:.0f} s: ask for it at /v1/jobs/{job}."
        raise HttpError(504, message, "timeout", headers={JOB_HEADER: job, "x-should-retry": "false"})
    if outcome.state != "done":
        raise failures.failed(outcome, {JOB_HEADER: job})
    return outcome


async def _events(door: Door, caller: Caller, asked: Asked, job: str) -> AsyncGenerator[Event | None, None]:
    """Yield the events of a stream. What was said comes as soon as the Scribe is done, if later stages follow."""
    chained, told = asked.options["stop"] != "scribe", False
    async with aclosing(watch_outcome(door, caller, job, LOOK_S if chained else KEEPALIVE_S)) as waiting:
        async for outcome in waiting:
            if outcome and outcome.state != "done":
                raise failures.failed(outcome, {JOB_HEADER: job})
            said = outcome.transcript if outcome else None
            if chained and not (said or told):
                said = await _said(door, caller, job)
            if said and not told:
                told = True
                for delta in answers.deltas_of(said):
                    yield Event(delta)
            if outcome:
                yield Event(answers.done_of(outcome, asked))


async def _said(door: Door, caller: Caller, job: str) -> Transcript | None:
    """Return what a job's Scribe has found, None as long as it has not, or where nobody can tell now."""
    with suppress(GolemError):
        handover = (await door.jobs_of(caller).record(job)).handover
        return handover.transcript if handover else None
    return None
