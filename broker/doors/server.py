"""The server: HTTP in one event loop, until it is stopped."""

from socket import socket

import uvicorn

from golem_chain.broker.doors.app import create_app
from golem_chain.broker.doors.door import Door
from golem_chain.shared.settings import Settings


class Server(uvicorn.Server):
    """Tells the door that it stops before it waits for open requests: a stream of events would never end by itself."""

    def __init__(self, config: uvicorn.Config, door: Door) -> None:
        super().__init__(config)
        self._door = door

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Close the port, wait for open requests, close the door."""
        self._door.stopping.set()
        await super().shutdown(sockets)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    door = Door(settings)
    config = uvicorn.Config(
        create_app(door), host=settings.serve_address, port=settings.serve_port, log_level="warning"
    )
    await Server(config, door).serve()
