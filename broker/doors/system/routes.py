"""The routes of the running system: its status and its events; those of health, letters and metrics beside them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from golem_chain.broker.doors.door import TheCaller, TheDoor
from golem_chain.broker.doors.intake.sse import EventStream, last_event_id
from golem_chain.broker.doors.system import events, health, letters, views
from golem_chain.broker.doors.system.metrics import routes as metrics_routes
from golem_chain.broker.doors.system.room import TheRoom

router = APIRouter(tags=["system"])
router.include_router(health.router)
router.include_router(letters.router)
router.include_router(metrics_routes.router)

#: The answer waits so long for its first event, seconds: until then an error has a status.
HOLD_S = 5.0


@router.get("/v1/system", response_model=views.SystemView)
async def system(room: TheRoom, caller: TheCaller) -> Any:
    """Return the queues, and what each worker holds."""
    return views.system(await room.reader.overview(), caller.operator)


@router.get("/v1/system/events", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}})
async def system_events(
    request: Request,
    room: TheRoom,
    door: TheDoor,
    caller: TheCaller,
    last_s: Annotated[float, Query(ge=0, le=events.LAST_MOST_S, description="Replay events of so many seconds")] = 0.0,
) -> EventStream:
    """Stream loads, unloads, out-of-memories and batches as `load`, `unload`, `oom` and `batch`, and about every second
    the status as `status`. After a break, send the last id as Last-Event-ID, or as `?after=`."""
    start = events.start_of(last_s, last_event_id(request))
    return EventStream(door, events.stream(room, caller, start), hold_s=HOLD_S)
