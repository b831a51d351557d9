"""A Wyoming server in the event loop of a test, and what clients send to it."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient

from golem_chain.broker.doors.door import Door
from golem_chain.broker.doors.wyoming.server import WyomingServer

FORMAT = {"rate": 16000, "width": 2, "channels": 1}


class Port(WyomingServer):
    """A server that knows its port."""

    port: int


def conversing(settings, main, timeout_s=60):
    """Run a coroutine function with a Wyoming server of its own; fail if that leaves a task behind."""

    async def running():
        door = Door(settings)
        server = Port(door)
        await server.start([opened := socket.create_server(("127.0.0.1", 0))])
        server.port = opened.getsockname()[1]
        try:
            async with asyncio.timeout(timeout_s):
                await main(server)
        finally:
            await server.stop()
            await door.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    asyncio.run(running())


async def until(condition, within_s=30):
    """Wait for a condition and return its value."""
    end = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    return found


@asynccontextmanager
async def connected(server):
    """A client of the library, connected during the block."""
    async with AsyncTcpClient("127.0.0.1", server.port, read_timeout=30) as client:
        yield client


async def say(client, audio, language=None, pieces=1, **form):
    """Send a recording as Home Assistant does, its bytes in pieces."""
    form = FORMAT | form
    await client.write_event(Transcribe(language=language).event())
    await client.write_event(AudioStart(**form).event())
    step = -(-len(audio) // pieces)
    for at in range(0, len(audio), step or 1):
        await client.write_event(AudioChunk(audio=audio[at : at + step], **form).event())
    await client.write_event(AudioStop().event())


async def transcribed(server, audio, **given):
    """Return the event that answers a recording."""
    async with connected(server) as client:
        await say(client, audio, **given)
        return await client.read_event()


async def replied(server, text, language=None):
    """Return the event that answers a text."""
    async with connected(server) as client:
        await client.write_event(Transcript(text, language=language).event())
        return await client.read_event()
