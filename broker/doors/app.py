"""The application: all doors of HTTP behind one guard."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.routing import Match

import golem_chain
from golem_chain.broker.doors import errors
from golem_chain.broker.doors.access import paths
from golem_chain.broker.doors.access import routes as access_routes
from golem_chain.broker.doors.access.guard import Guard
from golem_chain.broker.doors.door import Door
from golem_chain.broker.doors.intake.uploads import Leftovers
from golem_chain.broker.doors.jobs import routes as jobs_routes
from golem_chain.broker.doors.openai import routes as openai_routes
from golem_chain.broker.doors.page import routes as page_routes
from golem_chain.broker.doors.system import routes as system_routes
from golem_chain.broker.doors.system.metrics.requests import Measured
from golem_chain.broker.doors.system.room import Room
from golem_chain.shared.errors import GolemError

logger = logging.getLogger(__name__)


class Application(FastAPI):
    """FastAPI's application, whose schema tells which routes need no key."""

    def openapi(self) -> dict[str, Any]:
        """Return the schema."""
        schema = super().openapi()
        for path, operations in schema["paths"].items():
            if paths.need_of(path) == "nothing":
                for operation in operations.values():
                    operation.pop("security", None)
        return schema


def create_app(door: Door) -> FastAPI:
    """Return the ASGI application of a door. It closes the door when the server stops."""

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.system.close()
        await door.close()

    app = Application(
        title="Golem Chain",
        version=golem_chain.__version__,
        description="A queue for speech: files and texts become transcripts, intents and replies.",
        docs_url=None,  # their pages load scripts from elsewhere; the schema is at /openapi.json
        redoc_url=None,
        redirect_slashes=False,  # it would lead to a URL made of the Host header, and a key would go along
        responses={"default": {"model": errors.Error, "description": "An error, with one sentence"}},
        lifespan=living,
    )
    app.state.door, app.state.system = door, Room(door)
    key = [Depends(HTTPBearer(auto_error=False))] if door.settings.api_keys else []  # shown only: the guard checks it
    for routes in (access_routes, openai_routes, jobs_routes, system_routes):
        app.include_router(routes.router, dependencies=key)
    app.include_router(page_routes.router)
    for kind in (GolemError, errors.HttpError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answer_error)
    app.add_middleware(Leftovers)
    app.add_middleware(Guard, door=door)
    app.add_middleware(Measured, requests=app.state.system.metrics.requests)  # the last one is the outermost
    return app


async def answer_error(request: Request, exc: Exception) -> JSONResponse:
    """Answer a request that failed."""
    if isinstance(exc, HTTPException):
        headers = {"allow": ", ".join(_allowed(request))} if exc.status_code == 405 else exc.headers or {}
        told = errors.shape(exc.status_code, f"{exc.detail}.", None)._replace(headers=headers)
    elif isinstance(exc, RequestValidationError):
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        told = errors.shape(400, f"{where}: {first['msg']}.", "invalid_value", where)
    else:
        told = errors.of(exc)
    if told.status >= 500:
        logger.error("%s %s: %s", request.method, request.url.path, type(exc).__name__)
    return JSONResponse(told.body, told.status, headers=dict(told.headers))


def _allowed(request: Request) -> list[str]:
    """Return the methods that a path has: each has a route of its own, and a router names those of one only."""
    methods, routes = ("GET", "POST", "PUT", "DELETE"), request.app.routes
    asked = {method: {**request.scope, "method": method} for method in methods}
    return [method for method in methods if any(one.matches(asked[method])[0] is Match.FULL for one in routes)]
