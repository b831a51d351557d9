"""The application: all doors of HTTP behind one guard."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from golem_chain.broker.doors import errors
from golem_chain.broker.doors.access import routes as access_routes
from golem_chain.broker.doors.access.guard import Guard
from golem_chain.broker.doors.door import Door
from golem_chain.broker.doors.jobs import routes as jobs_routes
from golem_chain.broker.doors.openai import routes as openai_routes
from golem_chain.broker.doors.page import routes as page_routes
from golem_chain.broker.doors.system import routes as system_routes
from golem_chain.broker.doors.system.metrics.requests import Measured
from golem_chain.broker.doors.system.room import Room
from golem_chain.shared.errors import GolemError

logger = logging.getLogger(__name__)


def create_app(door: Door) -> FastAPI:
    """Return the ASGI application of a door. It closes the door when the server stops."""

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.system.close()
        await door.close()

    app = FastAPI(title="Golem Chain", lifespan=living)
    app.state.door, app.state.system = door, Room(door)
    for routes in (access_routes, openai_routes, jobs_routes, system_routes, page_routes):
        app.include_router(routes.router)
    for kind in (GolemError, errors.HttpError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answer_error)
    app.add_middleware(Guard, door=door)
    app.add_middleware(Measured, requests=app.state.system.metrics.requests)  # the last one is the outermost
    return app


async def answer_error(request: Request, exc: Exception) -> JSONResponse:
    """Answer a request that failed."""
    if isinstance(exc, HTTPException):
        told = errors.shape(exc.status_code, f"{exc.detail}.", None)._replace(headers=exc.headers or {})
    elif isinstance(exc, RequestValidationError):
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        told = errors.shape(400, f"{where}: {first['msg']}.", "invalid_value", where)
    else:
        told = errors.of(exc)
    if told.status >= 500:
        logger.error("%s %s: %s", request.method, request.url.path, type(exc).__name__)
    return JSONResponse(told.body, told.status, headers=dict(told.headers))
