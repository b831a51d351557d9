"""The guard: an ASGI middleware that lets a request in, or answers it."""

from starlette.types import ASGIApp, Receive, Scope, Send

from golem_chain.broker.doors.door import Door, local_caller


class Guard:
    """Sets `scope["state"]["caller"]` for the routes behind it."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._local = app, local_caller(door.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the start and the end of the server."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["caller"] = self._local
        await self._app(scope, receive, send)
