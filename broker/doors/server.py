"""The server: ports, the system beside it, one event loop, and the order in which they end.

A stop, by SIGTERM, SIGHUP or Ctrl-C: (1) no new requests, and streams of events end, which their clients resume; (2)
open requests get GOLEM_STOP_S; (3) Wyoming, in the same way; (4) the worker, which hands back what it has in hand; (5)
the embedded server.
"""

import asyncio
import gc
import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import uvicorn

from golem_chain.broker.connection import check_broker, place
from golem_chain.broker.doors.access import keyring, limits
from golem_chain.broker.doors.access.connection import server_options
from golem_chain.broker.doors.app import create_app
from golem_chain.broker.doors.door import Door
from golem_chain.broker.doors.lifecycle import ports
from golem_chain.broker.doors.lifecycle.ending import Ending
from golem_chain.broker.doors.lifecycle.greeting import greeting
from golem_chain.broker.doors.lifecycle.stop import Stop
from golem_chain.broker.doors.wyoming.server import BACKLOG, WyomingServer
from golem_chain.broker.local.lasting import LastingSystem
from golem_chain.shared.errors import GolemError
from golem_chain.shared.settings import Settings

logger = logging.getLogger(__name__)

Say = Callable[[str], None]

_LOOK_S, _AWAY_S = 5.0, 1.0  # interval of looking for Redis, and for one that is away
_CLOSING_S = 2  # for the connections of requests that were cut: a client may not read


def run(settings: Settings, say: Say, *, no_auth: bool = False, log: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C. `log`: one line for each request. Call it in the main thread.

    Raises BadSetting for an address, a port or a certificate that cannot be used, and MissingExtra and BrokerAway
    where the system beside the server cannot start.
    """
    ports.check_keys(settings, no_auth=no_auth)
    keyring.check(settings)
    tls = ports.certificate(settings)
    where = place(settings)  # raises BadSetting for a bad URL
    _set_up_log(log=log)
    with ExitStack() as opened:
        http = ports.open_port(settings.serve_address, settings.serve_port, limits.BACKLOG, "GOLEM_SERVE")
        for one in http:
            opened.callback(one.close)
        wyoming: list[socket.socket] = []
        if settings.wyoming_port:
            wyoming = ports.open_port(settings.wyoming_address, settings.wyoming_port, BACKLOG, "GOLEM_WYOMING")
        for one in wyoming:
            opened.callback(one.close)
        stop = opened.enter_context(Stop.heard())
        local = None
        if not settings.names_a_server:
            local = LastingSystem(settings, say)
            opened.callback(local.close)
            settings = local.settings
        for sentence in greeting(settings, own_system=local is not None):
            say(sentence)
        asyncio.run(_serve(settings, local, http, wyoming, tls, stop, say))
    say("Stopped; jobs that have not ended go on at the next start." if local else f"Stopped; jobs go on in {where}.")


async def _serve(
    settings: Settings,
    local: LastingSystem | None,
    http: list[socket.socket],
    wyoming: list[socket.socket],
    tls: ssl.SSLContext | None,
    stop: Stop,
    say: Say,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_error)
    door = Door(settings, local)
    app = Ending(create_app(door))
    server = Server(_config(app, settings, tls), door)
    if wyoming:
        home = WyomingServer(door)
        await home.start(wyoming)
        door.beside.push_async_callback(home.stop)
    gc.collect()
    gc.freeze()  # what lives for ever is not looked through while a hundred clients come at once
    asked, running = stop.within(loop), asyncio.create_task(server.serve(http))
    watching = None if local else asyncio.create_task(_watch_redis(settings, say))
    if local:
        local.begin()
    await asyncio.wait([running, asked], return_when=asyncio.FIRST_COMPLETED)
    if watching:
        watching.cancel()
    app.refuse()
    door.stopping.set()
    server.should_exit = True
    await asyncio.wait([running], timeout=settings.stop_s)
    app.cut()
    await running


def _config(app: Ending, settings: Settings, tls: ssl.SSLContext | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        timeout_graceful_shutdown=int(settings.stop_s) + _CLOSING_S,
        **server_options(settings),
    )
    config.load()
    config.ssl = tls
    if not _debug():  # of requests that were cut it would tell as of errors
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return config


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to us, tells the door when it stops, and at last lets go of connections
    that do not close."""

    def __init__(self, config: uvicorn.Config, door: Door) -> None:
        super().__init__(config)
        self._door = door

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override] # as uvicorn calls it
        """Do nothing: `Stop` hears them."""
        return nullcontext()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, wait for open requests, close the door."""
        self._door.stopping.set()  # a stream of events would never end by itself
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


async def _watch_redis(settings: Settings, say: Say) -> None:
    """Say once that Redis is away, and once that it is there again."""
    away = False
    while True:
        try:
            await asyncio.to_thread(check_broker, settings)
        except GolemError as exc:
            if not away:
                say(f"{exc.message} Requests are refused meanwhile.")
            away = True
        else:
            if away:
                say(f"{place(settings)} answers again.")
            away = False
        await asyncio.sleep(_AWAY_S if away else _LOOK_S)


def _set_up_log(*, log: bool) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    if not _debug():  # a client that sends no HTTP, or leaves early, is none of our errors
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    if log:
        logging.getLogger("golem_chain.broker.doors.access").setLevel(logging.INFO)


def _debug() -> bool:
    return os.environ.get("GOLEM_DEBUG") == "1"


def _log_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One line for an error in the event loop."""
    if _debug():
        loop.default_exception_handler(context)
        return
    exc = context.get("exception")
    logger.error("%s%s", context["message"], f" ({type(exc).__name__})" if exc else "")
