"""The server: HTTP in one event loop, until it is stopped."""

import uvicorn

from golem_chain.broker.doors.app import create_app
from golem_chain.broker.doors.door import Door
from golem_chain.shared.settings import Settings


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        create_app(Door(settings)), host=settings.serve_address, port=settings.serve_port, log_level="warning"
    )
    await uvicorn.Server(config).serve()
