"""Groups: their counters, their ends as a list and as a stream, and their cancellation."""

import re
from collections.abc import AsyncGenerator
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request, Response

from golem_chain.broker.asynchronous.owned import OwnedGroup
from golem_chain.broker.doors.door import TheCaller, TheDoor
from golem_chain.broker.doors.intake.sse import Event, EventStream, last_event_id
from golem_chain.broker.doors.jobs import views
from golem_chain.broker.doors.jobs.ends import AllEnds
from golem_chain.broker.doors.jobs.schema import EVENTS, GroupName, failing, no_event_id
from golem_chain.broker.doors.jobs.views import GroupEnds, GroupView
from golem_chain.broker.jobs.groups import FIRST

router = APIRouter(tags=["groups"])
_UNKNOWN = failing(s404="There is no such group")
#: A place in the stream of a group's ends.
CURSOR = r"\d{1,19}-\d{1,19}"


async def ends_of(request: Request) -> AllEnds:
    """Return the ends that a server reads."""
    state = request.app.state
    if not hasattr(state, "ends"):
        state.ends = AllEnds()
    return cast("AllEnds", state.ends)


TheEnds = Annotated[AllEnds, Depends(ends_of)]


@router.get("/v1/groups/{name}", response_model=GroupView, responses=_UNKNOWN)
async def get_group(name: GroupName, door: TheDoor, caller: TheCaller) -> GroupView:
    """Show the counters of a group. Costs the same for any number of jobs."""
    return views.of_group(name, await door.jobs_of(caller).group(name).status())


@router.delete("/v1/groups/{name}", response_model=GroupView, responses=_UNKNOWN)
async def cancel_group(name: GroupName, door: TheDoor, caller: TheCaller) -> GroupView:
    """Cancel every unfinished job of a group, and refuse further ones. Running jobs end within a second, waiting ones
    when a worker takes their messages."""
    return views.of_group(name, await door.jobs_of(caller).group(name).cancel())


@router.get(
    "/v1/groups/{name}/ends", response_model=GroupEnds, responses=_UNKNOWN | failing(s400="`since` is no cursor")
)
async def list_ends(
    name: GroupName,
    door: TheDoor,
    caller: TheCaller,
    since: Annotated[str, Query(pattern=f"^{CURSOR}$", description="`next` of an earlier answer")] = FIRST,
) -> GroupEnds:
    """List the jobs that have ended, in the order of their ends, at most 200, with their Outcomes."""
    group = door.jobs_of(caller).group(name)
    await group.status()
    ends = [views.of_end(end) for end in await group.ends(since)]
    return GroupEnds(ends=ends, next=ends[-1].cursor if ends else since)


@router.get("/v1/groups/{name}/events", response_class=Response, responses=EVENTS)
async def follow_group(
    name: GroupName, request: Request, door: TheDoor, caller: TheCaller, followed: TheEnds
) -> EventStream:
    """Follow a group until all its jobs have ended.

    Each event `end` has a GroupEnd, the last event `group` a GroupView. With the header `Last-Event-ID` (or `?after=`)
    of an earlier event the stream goes on after it.
    """
    group = door.jobs_of(caller).group(name)
    since = last_event_id(request) or FIRST
    if not re.fullmatch(CURSOR, since):
        raise no_event_id()
    await group.status()
    return EventStream(door, _ends_of(followed, caller.owner, group, since))


async def _ends_of(followed: AllEnds, owner: str, group: OwnedGroup, since: str) -> AsyncGenerator[Event, None]:
    async with followed.joined(owner, group) as ends:
        while page := await ends.after(since):
            for event in page:
                yield event
            since = event.id or since
    yield Event(views.of_group(group.name, await group.status()).model_dump(mode="json"), "group", since)
