"""Events as they come in: a line of JSON, data and payload, each within a limit, whatever the client sends.

The library's own reader has no limits and raises what its JSON parser raises, so it is used by trusted sides only.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from golem_chain.shared.errors import BadRequest

#: Bytes of the line that begins an event, and of the data that may follow it: a text of 20,000 characters takes up to
#: 240 kB as escaped JSON.
LINE_MOST, DATA_MOST = 64 << 10, 256 << 10
#: A payload is read in pieces of this size, bytes.
PIECE = 64 << 10
#: How long an event's data may take once its line is there, and each piece of its payload, seconds. Events are written
#: at once, so this waits for the network only.
PART_S = 30.0


class BadEvent(BadRequest):
    """What came is not an event of the protocol, or exceeds its limits."""

    code = "bad-event"


@dataclass(frozen=True)
class Incoming:
    """An event whose payload is still to be read."""

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    payload_bytes: int = 0


def parse_line(line: bytes) -> tuple[Incoming, int]:
    """Return the event that a line begins, and how many bytes of data follow. Raises BadEvent."""
    told = _object(line, "The line is")
    type, data = told.get("type"), told.get("data") or {}
    if not isinstance(type, str) or not isinstance(data, dict):
        raise BadEvent("The event has no type, or its data is no object: send what Wyoming describes.")
    sizes = [told.get(name) or 0 for name in ("data_length", "payload_length")]
    if any(not isinstance(size, int) or isinstance(size, bool) or size < 0 for size in sizes):
        raise BadEvent("The event's lengths are not numbers of bytes: send what Wyoming describes.")
    if sizes[0] > DATA_MOST:
        raise BadEvent(f"The event announces {sizes[0]:,} bytes of data, the limit is {DATA_MOST:,}: send less.")
    return Incoming(type, data, sizes[1]), sizes[0]


def parse_data(event: Incoming, data: bytes) -> Incoming:
    """Return the event with the data that followed its line. Raises BadEvent."""
    return Incoming(event.type, event.data | _object(data, "The event's data is"), event.payload_bytes)


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise BadEvent(f"{what} no JSON object: this port speaks Wyoming, one event after another.")
    return told


async def read_event(reader: asyncio.StreamReader, timeout_s: float) -> Incoming | None:
    """Return the next event, whose payload then has to be read; None if the client has left between two. The reader's
    limit must be LINE_MOST. Raises BadEvent, TimeoutError if no line comes in time or its data does not follow,
    EOFError and OSError if the client leaves."""
    try:
        async with asyncio.timeout(timeout_s):
            line = await reader.readuntil()
    except asyncio.IncompleteReadError as exc:
        if exc.partial.strip():
            raise
        return None
    except asyncio.LimitOverrunError:
        raise BadEvent(f"The line has more than {LINE_MOST:,} bytes: this port speaks Wyoming.") from None
    event, data_bytes = parse_line(line)
    if data_bytes:
        async with asyncio.timeout(PART_S):
            event = parse_data(event, await reader.readexactly(data_bytes))
    return event


async def payload_of(event: Incoming, reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    """Yield an event's payload in pieces of up to PIECE bytes. Raises TimeoutError, EOFError and OSError."""
    left = event.payload_bytes
    while left:
        async with asyncio.timeout(PART_S):
            piece = await reader.readexactly(min(left, PIECE))
        left -= len(piece)
        yield piece
