"""The routes of dead letters, for operators: messages that were given up, and what to do with them."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from golem_chain.broker.asynchronous.bridge import run
from golem_chain.broker.connection import reaching
from golem_chain.broker.doors.door import TheCaller, TheDoor
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.system.room import TheRoom, check_operator
from golem_chain.broker.jobs.dead_letters import Letters
from golem_chain.broker.transport.dead_letter import Letter

router = APIRouter(tags=["system"])


class LetterView(BaseModel):
    """A message that was given up. Its job has ended as failed."""

    letter: str = Field(description="Twelve hex digits that identify it")
    job: str | None = Field(description="Its job; null for a malformed message")
    queue: str
    why: str
    error: str | None = Field(description="The last error of a worker that failed on it")
    box: str
    deliveries: int | None
    at: float | None = Field(description="When it was given up, Unix seconds")
    size_bytes: int


class LettersView(BaseModel):
    """The dead letters, newest first."""

    letters: list[LetterView]


class RetriedView(BaseModel):
    """A job that waits again."""

    job: str


@router.get("/v1/dead-letters", response_model=LettersView)
async def dead_letters(room: TheRoom, door: TheDoor, caller: TheCaller) -> Any:
    """Return the dead letters, newest first, at most 1,000."""
    check_operator(caller)
    with reaching(door.settings):
        letters = await run(room.letters.all)
    return {"letters": [one.summary() for one in letters]}


@router.post("/v1/dead-letters/{letter}/retry", response_model=RetriedView)
async def retry(letter: str, room: TheRoom, door: TheDoor, caller: TheCaller) -> Any:
    """Put the job of a letter back into the queue of the stage that failed."""
    check_operator(caller)
    with reaching(door.settings):
        found = await _find(room.letters, letter)
        return {"job": await run(room.letters.retry, found)}


@router.delete("/v1/dead-letters/{letter}", status_code=204)
async def drop(letter: str, room: TheRoom, door: TheDoor, caller: TheCaller) -> Response:
    """Delete a letter. Its job keeps its Outcome."""
    check_operator(caller)
    with reaching(door.settings):
        found = await _find(room.letters, letter)
        await run(room.letters.drop, found)
    return Response(status_code=204)


async def _find(letters: Letters, name: str) -> Letter:
    found = next((one for one in await run(letters.all) if one.id == name), None)
    if found is None:
        raise HttpError(404, "There is no such dead letter: it was retried or dropped, or never was.", "unknown_letter")
    return found
