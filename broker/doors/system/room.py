"""What the routes of this room share, for the life of a server."""

import json
from typing import Annotated, cast

from fastapi import Depends, Request

from golem_chain.broker.asynchronous.connection import Client
from golem_chain.broker.connection import reaching
from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.system import views
from golem_chain.broker.doors.system.feed import Feed
from golem_chain.broker.doors.system.metrics.scrape import Metrics
from golem_chain.broker.doors.system.owners import Owners
from golem_chain.broker.doors.system.reader import Reader
from golem_chain.broker.jobs.dead_letters import Letters
from golem_chain.broker.keys import hashed
from golem_chain.shared.json_object import JsonObject


class Room:
    """The readings and the feed of one door."""

    def __init__(self, door: Door) -> None:
        self.reader = Reader(door.settings)
        self.feed = Feed(door.settings, self.reader)
        self.metrics = Metrics(door.settings, self.reader)
        self._plain = Client(door.settings)  # letters are bytes
        self.letters = Letters(self._plain, self.reader.keys)
        self._told: dict[bool, tuple[JsonObject, str]] = {}  # by whether it is an operator's
        self._settings, self._owners = door.settings, Owners(self.reader.client, self.reader.keys)

    async def own(self, caller: Caller, jobs: object) -> set[str]:
        """Return those of an event's jobs that the caller may know: its own, or all where the door asks for no keys.
        Raises BrokerAway."""
        ids = views.texts(jobs)
        if not ids or not self._settings.api_keys:
            return set(ids)
        with reaching(self._settings):
            return await self._owners.own(hashed(caller.owner), ids)

    def told(self, seen: JsonObject, operator: bool) -> str:
        """Return an overview as JSON. It is made once for all listeners."""
        made = self._told.get(operator)
        if made is None or made[0] is not seen:
            made = self._told[operator] = seen, json.dumps(views.system(seen, operator), separators=(",", ":"))
        return made[1]

    async def close(self) -> None:
        """Close the connections."""
        await self.metrics.close()
        await self._plain.aclose()
        await self.reader.close()


def room_of(request: Request) -> Room:
    """Return the room of a request."""
    return cast("Room", request.app.state.system)


TheRoom = Annotated[Room, Depends(room_of)]


def check_operator(caller: Caller) -> None:
    """Raise HttpError unless the caller is an operator."""
    if not caller.operator:
        raise HttpError(403, "This needs the key of an operator.", "not_an_operator")
