"""The guard: an ASGI middleware that lets a request in, or answers it."""

import asyncio
import logging
import os
import re
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from typing import NoReturn

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from golem_chain.broker.doors import errors
from golem_chain.broker.doors.access import browsers, limits, paths
from golem_chain.broker.doors.access.browsers import Rules
from golem_chain.broker.doors.access.exchange import Exchange
from golem_chain.broker.doors.access.keyring import KeyRing
from golem_chain.broker.doors.access.rate import Buckets, place_of
from golem_chain.broker.doors.door import Caller, Door, local_caller
from golem_chain.broker.doors.errors import HttpError
from golem_chain.shared.errors import GolemError
from golem_chain.shared.text import visible

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
#: Headers of which a second one would be read by some and missed by others.
_ONCE = frozenset({"host", "origin", "authorization", "content-length", "content-type", "sec-fetch-site"})


class Guard:
    """Lets requests through to the application with `scope["state"]["caller"]` and `["request_id"]`, and answers for it
    where it fails. Raises BadSetting for keys that cannot be used."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._rules = Rules.of(door.settings)
        self._keys = KeyRing.of(door.settings)
        # Whoever has no key may see the page only; an owner that nobody knows has no jobs.
        self._keyless = Caller("nobody", uuid.uuid4().hex) if self._keys else local_caller(door.settings)
        self._wrong, self._warned, self._used = Buckets(), Buckets(), Buckets()
        self._busy: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the start and the end of the server."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._serve(scope, Exchange(scope, receive, send))
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, exchange: Exchange) -> None:
        headers, began, who = _headers(scope), time.monotonic(), "-"
        request_id = headers.get("x-request-id", "")
        request_id = request_id if _REQUEST_ID.fullmatch(request_id) else f"req_{uuid.uuid4().hex}"
        exchange.add_headers({"x-request-id": request_id})
        try:
            self._check(scope, headers, exchange)
            if browsers.is_preflight(scope["method"], headers):
                await exchange.answer_empty(browsers.preflight_headers())
                return
            caller = await self._admit(scope, headers, exchange)
            who = caller.name
            exchange.limit_body(paths.body_limit(scope["path"], headers.get("content-type", "")))
            scope.setdefault("state", {}).update(caller=caller, request_id=request_id)
            with self._counted(caller, scope["path"]):
                await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            pass
        except (HttpError, GolemError) as exc:
            await exchange.answer(errors.of(exc))
        except Exception as exc:
            if os.environ.get("GOLEM_DEBUG") == "1":
                raise
            # Not its words, which may be a user's.
            at = traceback.extract_tb(exc.__traceback__)[-1]
            logger.error("%s: internal error: %s at %s:%s", request_id, type(exc).__name__, at.filename, at.lineno)
            await exchange.answer(errors.of(exc))
        finally:
            if exchange.refused is not None:
                await exchange.answer(errors.of(exchange.refused))
            took_ms = 1000 * (time.monotonic() - began)
            path = visible(scope["path"], 200)
            logger.info("%s %s %s %s %.0f ms %s", request_id, scope["method"], path, exchange.status, took_ms, who)

    def _check(self, scope: Scope, headers: Mapping[str, str], exchange: Exchange) -> None:
        """Refuse what no honest client sends, and pages of other sites. Raises HttpError."""
        _check_head(scope["headers"])
        paths.check_method(scope["method"])
        paths.check_path(scope["path"], scope.get("raw_path", b""), scope["query_string"])
        browsers.check_host(self._rules, headers.get("host"))
        exchange.add_headers(browsers.cors_headers(self._rules, None))
        origin = browsers.check_origin(self._rules, scope["method"], scope["path"], scope["scheme"], headers)
        exchange.add_headers(browsers.cors_headers(self._rules, origin))
        paths.check_query(scope["query_string"])

    async def _admit(self, scope: Scope, headers: Mapping[str, str], exchange: Exchange) -> Caller:
        """Return who asks. Raises HttpError where a key is missing, wrong, used too often, or not an operator's."""
        if self._keys is None:
            return self._keyless
        now = time.monotonic()
        if self._keys.due(now):
            await asyncio.to_thread(self._keys.refresh)
        need = paths.need_of(scope["path"])
        scheme, _, token = headers.get("authorization", "").partition(" ")
        caller = self._keys.caller_of(token.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            if need == "nothing":
                return self._keyless
            self._refuse(token, (scope.get("client") or ("", 0))[0], now)
        self._spend(caller, exchange, now)
        if need == "operator" and not caller.operator:
            raise HttpError(403, "This needs the key of an operator.", "not_an_operator")
        return caller

    def _refuse(self, token: str, address: str, now: float) -> NoReturn:
        """Raise HttpError for a key that is missing or wrong. Wrong ones are counted by address."""
        if not token:
            raise HttpError(
                401,
                "You have given no API key: send the header Authorization: Bearer KEY.",
                "invalid_api_key",
                None,
                {"www-authenticate": "Bearer"},
            )
        place = place_of(address)
        taken = self._wrong.take(place, now, limits.WRONG_KEYS, 1 / limits.WRONG_KEY_S)
        if taken.wait_s:
            raise _later("Too many wrong keys came from your address.", "rate_limit_exceeded", taken.wait_s)
        if taken.tokens < 1 and not self._warned.take(place, now, 1, 1 / limits.WARN_S).wait_s:
            logger.warning(
                "%d wrong API keys came from %s: more are refused unseen for a while.", limits.WRONG_KEYS, place
            )
        raise HttpError(
            401,
            "This API key is not valid here: check it, or ask whoever runs the server for another.",
            "invalid_api_key",
            None,
            {"www-authenticate": 'Bearer error="invalid_token"'},
        )

    def _spend(self, caller: Caller, exchange: Exchange, now: float) -> None:
        """Count a request against its key's rate. Raises HttpError when that is used up."""
        most = caller.limits.requests_per_min
        if most is None:
            return
        taken = self._used.take(caller.name, now, most, most / 60)
        exchange.add_headers(
            {
                "x-ratelimit-limit-requests": str(most),
                "x-ratelimit-remaining-requests": str(int(taken.tokens)),
                "x-ratelimit-reset-requests": f"{ceil((most - taken.tokens) * 60 / most)}s",
            }
        )
        if taken.wait_s:
            raise _later(f"Your key may ask {most} times a minute.", "rate_limit_exceeded", taken.wait_s)

    @contextmanager
    def _counted(self, caller: Caller, path: str) -> Iterator[None]:
        """Count a request in progress. Raises HttpError if there are too many."""
        if path != "/health" and self._busy.total() >= limits.REQUESTS:
            raise HttpError(503, "The server has too many clients at once.", "busy", None, {"retry-after": "2"})
        if self._keys is not None and self._busy[caller.name] >= limits.REQUESTS_OF_KEY:
            raise _later("Your key has too many requests in progress.", "rate_limit_exceeded", 2)
        self._busy[caller.name] += 1
        try:
            yield
        finally:
            self._busy[caller.name] -= 1
            if not self._busy[caller.name]:
                del self._busy[caller.name]


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers; of several with one name, the first."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    return found


def _check_head(headers: list[tuple[bytes, bytes]]) -> None:
    size_bytes = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > limits.HEADERS or size_bytes > limits.HEAD_BYTES:
        raise HttpError(
            431,
            f"A request may have {limits.HEADERS} headers of {limits.HEAD_BYTES} bytes in all.",
            "headers_too_large",
        )
    counts = Counter(name.decode("latin-1") for name, _ in headers)
    if twice := sorted(name for name in _ONCE if counts[name] > 1):
        raise HttpError(400, f"The header {twice[0]} may occur once only.", "invalid_header")
    if counts["content-length"] and counts["transfer-encoding"]:
        raise HttpError(400, "Give content-length or transfer-encoding, not both.", "invalid_header")


def _later(message: str, code: str, wait_s: float) -> HttpError:
    """A refusal that says when to come back, in the headers that OpenAI's client reads."""
    again = {"retry-after": str(ceil(wait_s)), "retry-after-ms": str(ceil(1000 * wait_s))}
    return HttpError(429, f"{message} Try again in {ceil(wait_s)} s.", code, None, again)
