"""Requests become jobs: under an id that a client's retry finds again, watched while clients wait for them."""

import uuid
from typing import Literal, TypeAlias

from fastapi import Request

from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.intake.forms import Upload
from golem_chain.broker.submission import Asked
from golem_chain.shared.records import JobOptions, Outcome

#: How the id of a job is made. `fresh`: a new one. `request`: from key and request, so that the same again within
#: minutes finds the job. Anything else: from the key and this text, an Idempotency-Key of the client.
Identity: TypeAlias = Literal["fresh", "request"] | tuple[Literal["key"], str]


async def submit(
    door: Door,
    caller: Caller,
    asked: Upload | str,
    options: JobOptions,
    *,
    intent: str | None = None,
    name: str | None = None,
    identity: Identity = "fresh",
) -> str:
    """Submit a job of an upload or of a text, and return its id. Raises what `Pipeline.submit` raises, and HttpError
    where the caller's limit of queued jobs is reached."""
    given = Asked(None, asked, intent) if isinstance(asked, str) else Asked(asked.data)
    shown = name or (asked.name if isinstance(asked, Upload) else "text")
    return await door.jobs_of(caller).submit(given, options, id=uuid.uuid4().hex, name=shown)


async def outcome_of(door: Door, caller: Caller, job: str, request: Request, timeout_s: float | None) -> Outcome | None:
    """Wait for a job for a client that is connected, and return its Outcome; None if there is none in time.

    A client that leaves cancels the job after LEAVE_S, unless it is waited for again until then. Raises
    ClientGone.
    """
    async for outcome in door.jobs_of(caller).wait([job], timeout_s):
        return outcome
    return None
