"""Requests that bring files and fields: multipart and urlencoded forms, and audio as it is, each bounded.

Fields and files may come in any order. What is above a limit is refused while it comes.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from fastapi import Request
from python_multipart.multipart import parse_options_header

from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.bodies import body_of
from golem_chain.broker.doors.intake.desk import Desk
from golem_chain.broker.doors.intake.multipart import FIELDS_BYTES, FIELDS_MOST, Parts
from golem_chain.broker.doors.intake.uploads import Incoming, Limit, Upload, file_name, incoming_of, limit_of


@dataclass(frozen=True)
class Form:
    """A form. A field can occur several times."""

    fields: tuple[tuple[str, str], ...] = ()
    files: tuple[Upload, ...] = ()

    def all(self, *names: str) -> list[str]:
        """Return the values of the fields of these names, in the order in which they came."""
        return [value for name, value in self.fields if name in names]

    def one(self, name: str) -> str | None:
        """Return the last value of a field, None if there is none or it is empty."""
        return next((value for value in reversed(self.all(name)) if value), None)


async def read_form(request: Request, door: Door, caller: Caller, files_most: int = 1) -> Form:
    """Read a form with up to `files_most` files, or a body that is audio, whose fields are those of the query string.

    Raises HttpError 400, 413 and 415, AudioAboveLimit, VaultFull, UploadLost, BrokerAway, ClientDisconnect.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"application/x-www-form-urlencoded":
        body = await body_of(request, FIELDS_BYTES)
        return Form(_pairs(body.decode("latin-1")))
    limit, announced_bytes = limit_of(caller, door.settings), _announced(request)
    if kind == b"multipart/form-data":
        if files_most and announced_bytes > files_most * limit.size_bytes + FIELDS_BYTES:
            limit.check(announced_bytes)
        incoming = _Files(request, door, caller, limit, announced_bytes if files_most == 1 else 0)
        return await _multipart(request, options.get(b"boundary", b""), incoming, files_most)
    if files_most and (kind.startswith((b"audio/", b"video/")) or kind == b"application/octet-stream"):
        limit.check(announced_bytes)
        return await _raw(request, _Files(request, door, caller, limit, announced_bytes))
    raise HttpError(415, "Send the request as a form: multipart/form-data.", "unsupported_media_type")


def _announced(request: Request) -> int:
    given = request.headers.get("content-length", "")
    return int(given) if given.isdecimal() and len(given) < 20 else 0


def _pairs(query: str) -> tuple[tuple[str, str], ...]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MOST, errors="strict")
    except UnicodeDecodeError:
        raise HttpError(400, "The form is not in UTF-8.", "invalid_form") from None
    except ValueError:
        raise HttpError(400, f"The form has more than {FIELDS_MOST} fields.", "too_many_fields") from None
    return tuple(pairs)


@dataclass
class _Files:
    """The files of a request."""

    request: Request
    door: Door
    caller: Caller
    limit: Limit
    expected_bytes: int
    whole: list[Upload] = field(default_factory=list)

    def begin(self, name: str) -> Incoming:
        ahead, owner = self.door.part(Desk).ahead, self.caller.owner
        expected = min(self.expected_bytes, self.limit.size_bytes)
        taken = ahead.take(owner, expected)
        incoming = Incoming(self.door, file_name(name), self.limit, expected if taken else 0)
        if taken:
            incoming.on_end(lambda: ahead.give_back(owner, expected))
        incoming_of(self.request.scope).append(incoming)
        return incoming


async def _raw(request: Request, files: _Files) -> Form:
    fields = _pairs(request.scope["query_string"].decode("latin-1"))
    incoming = files.begin(next((value for name, value in fields if name == "name"), ""))
    async for chunk in request.stream():
        await incoming.write(chunk)
    return Form(fields, (await incoming.finish(),))


async def _multipart(request: Request, boundary: bytes, files: _Files, files_most: int) -> Form:
    """Read the parts as they come: fields into memory, files into the vault."""
    parts = Parts(boundary, files_most)
    incoming: Incoming | None = None
    async for chunk in request.stream():
        for event, told in parts.feed(chunk):
            if event == "file":
                incoming = files.begin(told.decode("utf-8", "backslashreplace"))
            elif incoming is not None and event == "data":
                await incoming.write(told)
            elif incoming is not None:
                files.whole.append(await incoming.finish())
                incoming = None
    parts.finish()
    return Form(tuple(parts.fields), tuple(files.whole))
