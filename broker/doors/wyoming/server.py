"""The Wyoming server: its port, its connections and their number."""

import asyncio
import hashlib
import socket
from collections.abc import Sequence
from contextlib import suppress

from golem_chain.broker.doors.door import Caller, Door, local_caller
from golem_chain.broker.doors.wyoming.connection import Connection
from golem_chain.broker.doors.wyoming.description import Description
from golem_chain.broker.doors.wyoming.events import LINE_MOST
from golem_chain.broker.owner import owner_of
from golem_chain.shared.errors import RetryableError
from golem_chain.shared.settings import Settings

#: Connections at once: Home Assistant opens one for each request. If there are as many, the one whose client has been
#: silent for the longest time makes room; during a recording, only after STALLED_S seconds.
CONNECTIONS_MOST = 100
STALLED_S = 2.0
BACKLOG = 128  # connections that wait to be accepted
_BUSY = RetryableError(f"All {CONNECTIONS_MOST} connections are busy: try again in a moment.")
#: A connection whose client's machine has vanished is found out after this many seconds, by three probes.
_PROBE_AFTER_S, _PROBE_EVERY_S, _PROBES = 30, 10, 3


def wyoming_caller(settings: Settings) -> Caller:
    """Return who asks at this port, which knows no keys: the user who started the server, as at a door without keys.
    Where keys are needed, an owner of its own, so that no key sees these jobs and these clients see no other's."""
    if settings.api_keys is None:
        return local_caller(settings)
    return Caller("wyoming", hashlib.sha256(f"wyoming:{owner_of(settings)}".encode()).hexdigest()[:32])


class _Protocol(asyncio.StreamReaderProtocol):
    """Streams that tell when the client leaves, also while nothing is read. A client that closes its sending side has
    left: Wyoming's keep it open until they have their answer."""

    gone: asyncio.Event

    def eof_received(self) -> bool | None:
        self.gone.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


class WyomingServer:
    """Serves Wyoming for a door, in the event loop of the door."""

    def __init__(self, door: Door) -> None:
        self._door, self._caller = door, wyoming_caller(door.settings)
        self._description = Description(door.pipeline)
        self._servers: list[asyncio.Server] = []
        self._connections: dict[asyncio.Task[None], Connection] = {}

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on these sockets, which are bound and listen; `stop` closes them."""
        self._description.look()
        loop = asyncio.get_running_loop()
        for one in sockets:
            self._servers.append(await loop.create_server(self._protocol, sock=one, backlog=BACKLOG))

    async def stop(self) -> None:
        """Stop to listen, wait up to GOLEM_STOP_S for the answers under way, and end the connections. The jobs of those
        that are cut off are cancelled."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections.values()):
            if connection.waits_since is not None and not connection.is_recording:
                connection.drop()
        if self._connections:
            await asyncio.wait(list(self._connections), timeout=self._door.settings.stop_s)
        for connection in list(self._connections.values()):
            connection.drop()
        if self._connections:
            await asyncio.wait(list(self._connections))
        await self._description.close()

    # -- connections

    def _protocol(self) -> _Protocol:
        reader, gone = asyncio.StreamReader(limit=LINE_MOST), asyncio.Event()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._connected(reader, writer, gone)

        protocol = _Protocol(reader, connected)
        protocol.gone = gone
        return protocol

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gone: asyncio.Event) -> None:
        _probe(writer)
        connection = Connection(self._door, self._caller, self._description, reader, writer, gone)
        room = len(self._connections) < CONNECTIONS_MOST or self._make_room()
        task = asyncio.create_task(connection.serve() if room else connection.turn_away(_BUSY))
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)

    def _make_room(self) -> bool:
        """Drop the connection whose client has been silent longest; return False if none may be dropped."""
        now = asyncio.get_running_loop().time()
        silent_s = {
            one: now - one.waits_since
            for one in self._connections.values()
            if one.waits_since is not None and (not one.is_recording or now - one.waits_since > STALLED_S)
        }
        if not silent_s:
            return False
        max(silent_s, key=lambda one: silent_s[one]).drop()
        return True


def _probe(writer: asyncio.StreamWriter) -> None:
    """Let the kernel ask now and then whether the client's machine is still there."""
    line = writer.get_extra_info("socket")
    with suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, _PROBE_AFTER_S),
            (socket.TCP_KEEPINTVL, _PROBE_EVERY_S),
            (socket.TCP_KEEPCNT, _PROBES),
        ):
            line.setsockopt(socket.IPPROTO_TCP, option, value)
