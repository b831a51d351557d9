"""Requests become jobs: under an id that a client's retry finds again, watched while clients wait for them."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal, TypeAlias

from fastapi import Request

from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.uploads import Upload
from golem_chain.broker.submission import Asked
from golem_chain.shared.records import JobOptions, Outcome

#: How the id of a job is made. `fresh`: a new one. `request`: from key and request, so that the same again within
#: minutes finds the job. Anything else: from the key and this text, an Idempotency-Key of the client.
Identity: TypeAlias = Literal["fresh", "request"] | tuple[Literal["key"], str]

#: A stream says this often that it lives while a job runs, seconds.
KEEPALIVE_S = 10.0


class ClientGone(HttpError):
    """The client has left: nobody reads the answer."""

    def __init__(self) -> None:
        super().__init__(499, "The client has left.", "client_gone")


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

    A client that leaves cancels the job after GOLEM_SERVE_LEAVE_S, unless it is waited for again until then. Raises
    ClientGone.
    """
    async with aclosing(door.jobs_of(caller).wait([job], timeout_s)) as outcomes:
        async for outcome in outcomes:
            return outcome
    return None


async def watch_outcome(
    door: Door, caller: Caller, job: str, keepalive_s: float = KEEPALIVE_S
) -> AsyncGenerator[Outcome | None, None]:
    """Wait for a job in a streamed answer: yield None every `keepalive_s` seconds, and then its Outcome.

    As `outcome_of`, but the client has left when the generator is closed: iterate over it under `aclosing`.
    """
    async with aclosing(door.jobs_of(caller).wait([job])) as outcomes:
        following = asyncio.ensure_future(anext(outcomes))
        try:
            while not (await asyncio.wait([following], timeout=keepalive_s))[0]:
                yield None
            yield following.result()
        finally:
            following.cancel()
