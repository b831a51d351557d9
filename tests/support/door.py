"""A door on a free port of loopback, in a thread of the test: real HTTP, real Redis."""

import asyncio
import threading
import time
from contextlib import contextmanager

import uvicorn

from golem_chain.broker.doors.access.connection import server_options
from golem_chain.broker.doors.app import create_app
from golem_chain.broker.doors.door import Door
from golem_chain.broker.doors.server import Server


@contextmanager
def serving(settings, door=None):
    """Serve a door of these settings, or this one, during the block; yields its URL, such as http://127.0.0.1:40000."""
    started: dict[str, Server] = {}
    loops: list[asyncio.AbstractEventLoop] = []

    async def run():
        served = door or Door(settings)
        options = server_options(settings)
        config = uvicorn.Config(
            create_app(served), host="127.0.0.1", port=0, log_level="error", lifespan="on", **options
        )
        started["server"] = server = Server(config, served)
        loops.append(asyncio.get_running_loop())
        await server.serve()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="door")
    thread.start()
    try:
        end = time.monotonic() + 30
        while not (server := started.get("server")) or not server.started:
            assert thread.is_alive(), "the door did not start"
            assert time.monotonic() < end
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        if "server" in started:
            started["server"].should_exit = True
        thread.join(30)
        assert not thread.is_alive(), f"the door did not stop: {_held_up(started, loops)}"


def _held_up(started, loops):
    """What a door waits for: its tasks with where they are, and its connections."""
    told = []
    for task in asyncio.all_tasks(loops[0]) if loops else ():
        told += [f"{task.get_coro()} at {frame}" for frame in task.get_stack()]
    return "\n".join([*told, *(str(vars(one)) for one in started["server"].server_state.connections)])
