"""Streams of the system's events: what a caller asked for, and what it is shown."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from golem_chain.broker.doors import errors
from golem_chain.broker.doors.door import Caller
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.sse import Event
from golem_chain.broker.doors.system import views
from golem_chain.broker.doors.system.feed import Entry, Start, parse_id
from golem_chain.broker.doors.system.room import Room
from golem_chain.shared.errors import BrokerAway

#: How far back a stream may begin, seconds.
LAST_MOST_S: Final = 86_400.0


def start_of(last_s: float, after: str | None) -> Start:
    """Return where a stream begins. Raises HttpError for an id that is none."""
    if after is None:
        return Start(last_s=last_s)
    if (found := parse_id(after)) is None:
        raise HttpError(400, "Last-Event-ID is not the id of an event of this stream: leave it out.", "invalid_value")
    return Start(after=found)


async def stream(room: Room, caller: Caller, start: Start) -> AsyncGenerator[Event, None]:
    """Yield the events and the status as the caller sees them. Raises BrokerAway if Redis is away at the start."""
    away = False
    async with aclosing(room.feed.listen(start)) as feed:
        async for told in feed:
            if isinstance(told, Entry):
                own = await room.own(caller, told.told.get("jobs"))
                yield Event(views.event(told.told, own), told.told["kind"], told.id)
            elif told.seen is not None:
                away = False
                yield Event(room.told(told.seen, caller.operator), "status")
            elif not away:
                away = True
                yield Event(errors.of(BrokerAway("")).body, "away")
