"""Bodies that are held in memory: each is bounded, and so are all of a server together while they come."""

import asyncio
import json
from typing import Any

from fastapi import Request

from golem_chain.broker.doors.errors import RETRY_AFTER_S, HttpError
from golem_chain.shared.json_object import JsonObject

#: All bodies that a server holds while they come, bytes.
HELD_MOST_BYTES = 64 << 20


async def body_of(request: Request, most_bytes: int) -> bytes:
    """Return the body of a request. Raises HttpError, 413 within a chunk of the limit, 503 if other bodies take the
    memory; ClientDisconnect."""
    body, state = bytearray(), request.app.state
    try:
        async for chunk in request.stream():
            body += chunk
            state.held_bytes = getattr(state, "held_bytes", 0) + len(chunk)
            if len(body) > most_bytes:
                raise HttpError(
                    413, f"The body has more than {most_bytes >> 10:,} KiB: send less.", "request_too_large"
                )
            if state.held_bytes > HELD_MOST_BYTES:
                busy = "The server is reading too many large bodies: try again in a moment."
                raise HttpError(503, busy, "busy", headers={"retry-after": str(RETRY_AFTER_S)})
        return bytes(body)
    finally:
        state.held_bytes = getattr(state, "held_bytes", 0) - len(body)


def is_json(request: Request) -> bool:
    """Return whether a body says that it is JSON."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def read_json(request: Request, most_bytes: int) -> JsonObject:
    """Read a body that is a JSON object. Raises HttpError 400, 413 and 415; as `body_of`."""
    if not is_json(request):
        raise HttpError(415, "Send the request as JSON: application/json.", "unsupported_media_type")
    body = await body_of(request, most_bytes)
    try:
        found = await asyncio.to_thread(_loads, body)
    except UnicodeEncodeError:
        half = "The body has half a surrogate pair, which is no character: send it in UTF-8."
        raise HttpError(400, half, "invalid_json") from None
    except (ValueError, RecursionError):
        raise HttpError(400, "The body is not valid JSON: check its quotes and commas.", "invalid_json") from None
    if not isinstance(found, dict):
        raise HttpError(400, 'The body must be a JSON object, such as {"text": "Stop."}.', "invalid_json")
    return found


def _loads(body: bytes) -> object:
    found = json.loads(body, parse_constant=_no_constant)
    json.dumps(found, ensure_ascii=False).encode()  # JSON can spell what no UTF-8 can hold
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
