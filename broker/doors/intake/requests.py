"""Requests become jobs: under an id that a client's retry finds again, watched while clients wait for them."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Literal, TypeAlias

from fastapi import Request

from golem_chain.broker.asynchronous.owned import OwnedPipeline
from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake import identity as identities
from golem_chain.broker.doors.intake.desk import Desk
from golem_chain.broker.doors.intake.presence import Wait
from golem_chain.broker.doors.intake.uploads import Upload
from golem_chain.broker.jobs.publisher import OWNED_MOST
from golem_chain.broker.submission import Asked
from golem_chain.shared.errors import IdTaken
from golem_chain.shared.records import JobOptions, Outcome

#: How the id of a job is made. `fresh`: a new one. `request`: from key and request, so that the same again within
#: minutes finds the job. Anything else: from the key and this text, an Idempotency-Key of the client.
Identity: TypeAlias = Literal["fresh", "request"] | tuple[Literal["key"], str]

#: A stream says this often that it lives while a job runs, seconds.
KEEPALIVE_S = 10.0
#: Characters of an Idempotency-Key.
KEY_MOST = 255


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
    where the caller's limit of queued jobs is reached, or an Idempotency-Key stands for another request."""
    owned = door.jobs_of(caller)
    upload = asked if isinstance(asked, Upload) else None
    given = Asked(upload.uploaded or upload.data) if upload else Asked(None, str(asked), intent)
    shown = name or (upload.name if upload else "text")
    if identity == "request":
        found = await _found(door, caller, given, options)
        if found.known:
            await owned.want(found.id)
            await _drop(door, upload)
            return found.id
    elif identity == "fresh":
        found = identities.Found(uuid.uuid4().hex, known=False)
    else:
        id = identities.key_id(await door.pipeline.salt(), caller.owner, _checked_key(identity[1]))
        found = identities.Found(id, known=(await owned.states([id]))[0] is not None)
    async with _place(door, caller, owned, known=found.known):
        try:
            job = await owned.submit(given, options, id=found.id, name=shown, secret=True)
        except IdTaken:
            message = "This Idempotency-Key was used for another request: use a new key for each request."
            raise HttpError(422, message, "idempotency_key_reused") from None
    if upload:
        upload.kept = True
    return job


async def outcome_of(door: Door, caller: Caller, job: str, request: Request, timeout_s: float | None) -> Outcome | None:
    """Wait for a job for a client that is connected, and return its Outcome; None if there is none in time.

    A client that leaves cancels the job after GOLEM_SERVE_LEAVE_S, unless it is waited for again until then. Raises
    ClientGone.
    """
    with present(door, caller, job) as wait:
        following = asyncio.ensure_future(_first(door.jobs_of(caller), job, timeout_s))
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait([following, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                raise ClientGone
            outcome = following.result()
            wait.keep()
            return outcome
        finally:
            following.cancel()
            leaving.cancel()
            await asyncio.gather(following, leaving, return_exceptions=True)


async def watch_outcome(
    door: Door, caller: Caller, job: str, keepalive_s: float = KEEPALIVE_S
) -> AsyncGenerator[Outcome | None, None]:
    """Wait for a job in a streamed answer: yield None every `keepalive_s` seconds, and then its Outcome.

    As `outcome_of`, but the client has left when the generator is closed: iterate over it under `aclosing`.
    """
    with present(door, caller, job) as wait:
        following = asyncio.ensure_future(_first(door.jobs_of(caller), job, None))
        try:
            while not (await asyncio.wait([following], timeout=keepalive_s))[0]:
                yield None
            outcome = following.result()
            wait.keep()
            yield outcome
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@contextmanager
def present(door: Door, caller: Caller, job: str) -> Iterator[Wait]:
    """A client waits for a job during the block. If it is left without `keep`, and nobody else waits, the job is
    cancelled after GOLEM_SERVE_LEAVE_S; not if it is left because the server stops."""
    owned = door.jobs_of(caller)

    async def cancel(id: str) -> None:
        if not await owned.wanted(id, time.time() - door.settings.serve_leave_s):  # of another server perhaps
            await owned.cancel(id)

    with door.part(Desk).presence.waiting(job, cancel) as wait:
        try:
            yield wait
        finally:
            if door.stopping.is_set():
                wait.keep()


# -- inside


async def _found(door: Door, caller: Caller, given: Asked, options: JobOptions) -> identities.Found:
    """Return the job of the same request, or a new id for it."""
    digest = identities.request_digest(await door.pipeline.digest(given, options), options)
    salt, owned = await door.pipeline.salt(), door.jobs_of(caller)
    search = identities.Search(salt, caller.owner, digest, identities.window_of(time.time()))
    if not await owned.known(search.ids):
        search.tell([None] * len(search.ids))
    while search.ids:
        search.tell(await owned.states(search.ids))
    return search.found or identities.Found(uuid.uuid4().hex, known=False)


@asynccontextmanager
async def _place(door: Door, caller: Caller, owned: OwnedPipeline, *, known: bool) -> AsyncGenerator[None, None]:
    """Submit a job inside of the block. Raises HttpError 429 if the caller has too many."""
    allowance = None if known else door.part(Desk).allowance_of(caller)
    if allowance is None:
        yield
        return
    async with allowance.place(lambda: owned.unfinished(OWNED_MOST)):
        yield


async def _drop(door: Door, upload: Upload | None) -> None:
    """Drop the bytes of a job that was known before: its client may wait for long."""
    if upload and upload.uploaded:
        upload.kept = True
        await door.pipeline.discard(upload.uploaded.upload)


async def _first(owned: OwnedPipeline, job: str, timeout_s: float | None) -> Outcome | None:
    async with aclosing(owned.wait([job], timeout_s)) as outcomes:
        async for outcome in outcomes:
            return outcome
    return None


async def _left(request: Request) -> None:
    """Return when the client has left. Its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _checked_key(key: str) -> str:
    if not key or len(key) > KEY_MOST:
        raise HttpError(400, f"An Idempotency-Key has 1 to {KEY_MOST} characters.", "invalid_idempotency_key")
    return key
