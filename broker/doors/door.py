"""The door: what all requests share, and who asks."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeVar, cast

from fastapi import Depends, Request

from golem_chain.broker.asynchronous.owned import Known, OwnedPipeline
from golem_chain.broker.asynchronous.serving import ServingPipeline
from golem_chain.broker.local.lasting import LastingSystem
from golem_chain.broker.owner import owner_of
from golem_chain.shared.settings import Settings


@dataclass(frozen=True)
class Limits:
    """What one key may use. None: no limit."""

    requests_per_min: int | None = None
    upload_bytes: int | None = None  # of one file; GOLEM_AUDIO_MAX_BYTES holds besides
    queued: int | None = None  # jobs that have not ended


@dataclass(frozen=True)
class Caller:
    """Who asks: the holder of a key, or whoever reaches a door without keys."""

    name: str  # of the key; never the key itself
    owner: str = field(repr=False)  # the secret name under which the jobs are listed, as GOLEM_OWNER
    operator: bool = False  # sees all boxes, dead letters and metrics
    limits: Limits = Limits()


def local_caller(settings: Settings) -> Caller:
    """Return the caller of a door without keys: the user who started it, so that `golem jobs` lists the same jobs."""
    return Caller("local", owner_of(settings), operator=True)


class Part(Protocol):
    """Something that all requests of a door share. It is made from the door, and closed with it."""

    def __init__(self, door: "Door") -> None: ...

    async def close(self) -> None:
        """Let go of what it holds."""


PartT = TypeVar("PartT", bound=Part)


class Door:
    """What all requests of one server share. Lives in one event loop."""

    def __init__(self, settings: Settings, local: LastingSystem | None = None) -> None:
        self.settings, self.local = settings, local  # the system that this process runs, if it does
        self.pipeline = ServingPipeline(settings)
        self.beside = AsyncExitStack()  # what ends when the last request has ended, such as Wyoming
        self._parts: dict[type[Part], Part] = {}
        self.stopping = asyncio.Event()  # set before the server waits for open requests: streams end then
        self._local, self._known = owner_of(settings), Known()

    def jobs_of(self, caller: Caller) -> OwnedPipeline:
        """Return a view of the pipeline that holds the caller's jobs only."""
        plain = caller.owner == self._local  # `golem status --group` and the page then agree
        return OwnedPipeline(self.pipeline, caller.owner, plain=plain, known=self._known)

    def part(self, kind: "type[PartT]") -> PartT:
        """Return the one object of a kind that all requests share, made at the first use."""
        if kind not in self._parts:
            self._parts[kind] = kind(self)
        return cast("PartT", self._parts[kind])

    async def close(self) -> None:
        """Close what runs beside the requests, and the parts, then the connections."""
        await self.beside.aclose()
        for part in self._parts.values():
            await part.close()
        await self.pipeline.close()


async def door_of(request: Request) -> Door:
    """Return the door of a request."""
    return cast("Door", request.app.state.door)


async def caller_of(request: Request) -> Caller:
    """Return who asks. The guard has let it in."""
    state: dict[str, Any] = request.scope["state"]
    return cast("Caller", state["caller"])


#: As parameters of routes.
TheDoor = Annotated[Door, Depends(door_of)]
TheCaller = Annotated[Caller, Depends(caller_of)]
