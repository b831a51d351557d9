"""The feed: one tail of the timeline and one poll of the status, shared by all who listen; none while nobody does.

_tail  reads the stream `Keys.events` from its end on, and hands each entry to every listener
_poll  reads the status about every second, and says once if Redis is away
"""

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Final, NamedTuple, TypeAlias, cast

import redis

from golem_chain.broker.asynchronous.ending import end
from golem_chain.broker.connection import reaching
from golem_chain.broker.doors.system.reader import Reader
from golem_chain.shared.errors import BrokerAway
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings

logger = logging.getLogger(__name__)

#: Events that are replayed at most, and that one listener may be behind before it is dropped: it resumes by id.
REPLAYED_MOST, BEHIND_MOST = 2000, 1000
#: Pause between two readings of the status, seconds.
POLL_S = 1.0
#: How long one read of the stream waits for an entry, milliseconds; pause after an error, seconds.
BLOCK_MS, AGAIN_S = 5000, 1.0
#: How long a replay may take, seconds.
REPLAY_S = 5.0

Id: TypeAlias = tuple[int, int]
_ID: Final = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")


class Entry(NamedTuple):
    """An event of the timeline."""

    id: str  # in the stream
    told: JsonObject


class Status(NamedTuple):
    """An overview of the system; None: Redis is away."""

    seen: JsonObject | None


class Start(NamedTuple):
    """Where a listener begins."""

    after: Id | None = None  # it has seen this one
    last_s: float = 0.0  # else: events that are no older than this, by the server's clock


class Listener:
    """What one listener has not been given yet."""

    def __init__(self) -> None:
        self.entries, self.dropped = deque[Entry](), False
        self.bell = asyncio.Event()
        self.status: Status | None = None  # the newest one only

    def add(self, entry: Entry) -> None:
        """Queue an entry; a listener that is too far behind gets no more."""
        if len(self.entries) >= BEHIND_MOST:
            self.drop()
        if not self.dropped:
            self.entries.append(entry)
        self.bell.set()

    def drop(self) -> None:
        """End it after what is queued."""
        self.dropped = True
        self.bell.set()

    def show(self, status: Status) -> None:
        """Replace the status that was not given out yet."""
        self.status = status
        self.bell.set()


class Feed:
    """The events and the status of one system, in one event loop."""

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._settings, self._reader = settings, reader
        self._listeners, self._tasks = dict[Listener, None](), list[asyncio.Task[None]]()
        self._turn = asyncio.Lock()

    async def listen(self, start: Start) -> AsyncGenerator[Entry | Status, None]:
        """Yield past events, the status, then both as they come. Ends for a listener that is too far behind.
        Raises BrokerAway if Redis is away at the start."""
        listener = await self._join()
        try:
            last: Id = (0, 0)
            for entry in await self._replay(start):
                yield entry
                last = parse_id(entry.id) or last
            yield Status(await self._reader.overview())
            while True:
                await listener.bell.wait()
                listener.bell.clear()
                while listener.entries:
                    entry = listener.entries.popleft()
                    if (parse_id(entry.id) or last) > last:  # the replay has read the first ones too
                        yield entry
                if listener.dropped:
                    return
                if listener.status:
                    status, listener.status = listener.status, None
                    yield status
        finally:
            await asyncio.shield(asyncio.ensure_future(self._leave(listener)))

    async def _join(self) -> Listener:
        """Return a listener that is told from now on. The first one starts the tasks."""
        async with self._turn:
            if any(task.done() for task in self._tasks):
                await self._stop()
            if not self._tasks:
                last = await self._newest()
                self._tasks = [asyncio.create_task(self._tail(last)), asyncio.create_task(self._poll())]
                for task in self._tasks:
                    task.add_done_callback(self._ended)
            listener = Listener()
            self._listeners[listener] = None
            return listener

    async def _leave(self, listener: Listener) -> None:
        """Tell a listener no longer. The last one ends the tasks."""
        del self._listeners[listener]
        async with self._turn:
            if not self._listeners:
                await self._stop()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nobody listens to a task that has failed: they come again, which starts it."""
        if not task.cancelled() and (exc := task.exception()):
            logger.error("The feed of events failed: %s", type(exc).__name__)
            for listener in self._listeners:
                listener.drop()

    async def _stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        await end(tasks)

    # -- reading

    async def _newest(self) -> str:
        """Return the id of the newest event."""
        found = await self._read("XREVRANGE", "+", "-", "COUNT", 1)
        return found[0][0] if found else "0-0"

    async def _replay(self, start: Start) -> list[Entry]:
        """Return the past events that a listener asked for, the newest REPLAYED_MOST of them in their order."""
        if start.after is not None:
            first = f"({start.after[0]}-{start.after[1]}"
        elif start.last_s > 0:
            now = (await self._reader.overview())["now_at"]
            first = str(max(0, int((now - start.last_s) * 1000)))
        else:
            return []
        found = await self._read("XREVRANGE", "+", first, "COUNT", REPLAYED_MOST)
        return [entry for row in reversed(found) if (entry := parse(*row))]

    async def _read(self, command: str, *args: Any) -> list[Any]:
        """Read the stream. Raises BrokerAway."""
        with reaching(self._settings):
            try:
                async with asyncio.timeout(REPLAY_S):
                    client: Any = self._reader.client.asynchronous
                    return cast("list[Any]", await client.execute_command(command, self._reader.keys.events, *args))
            except TimeoutError:
                raise redis.TimeoutError from None

    # -- the tasks

    async def _tail(self, last: str) -> None:
        key, task = self._reader.keys.events, asyncio.current_task()
        while not (task and task.cancelling()):  # asyncio.wait_for, which redis-py reads by, can swallow it before 3.12
            try:
                found: Any = await self._reader.client.asynchronous.xread({key: last}, count=100, block=BLOCK_MS)
            except redis.RedisError:
                await asyncio.sleep(AGAIN_S)  # the poll says that it is away
                continue
            rows = next(iter(found.values()))[0] if isinstance(found, dict) and found else found and found[0][1]
            for row in rows or ():
                last = row[0]
                if entry := parse(*row):
                    for listener in self._listeners:
                        listener.add(entry)

    async def _poll(self) -> None:
        away = False
        while True:
            try:
                status = Status(await self._reader.overview())
                away = False
            except BrokerAway as exc:
                status = Status(None)
                if not away:
                    logger.warning("%s", exc.message)
                    away = True
            for listener in self._listeners:
                listener.show(status)
            await asyncio.sleep(POLL_S)


def parse_id(text: str | None) -> Id | None:
    """Return the id of a stream's entry, None if it is none."""
    found = _ID.fullmatch(text or "")
    return (int(found[1]), int(found[2])) if found else None


def parse(id: str, fields: Any) -> Entry | None:
    """Return an entry of the stream; None for one that no release of ours has written."""
    try:
        given = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
        told = json.loads(given["event"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return Entry(id, told) if isinstance(told, dict) and isinstance(told.get("kind"), str) else None
