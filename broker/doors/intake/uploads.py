"""Uploads: audio on its way from a client into the vault, its limits checked while it comes.

A door holds PART_BYTES of each upload and no more: a part is stored before more is read.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.jobs.uploads import Uploaded, Uploads
from golem_chain.shared.errors import AudioAboveLimit, GolemError
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.shared.text import storable

#: Bytes that are stored at once: a part takes about a millisecond of the event loop and of Redis.
PART_BYTES = 256 * 1024
#: How long an upload waits for space in a full vault, seconds.
SPACE_S = 1.0
#: Characters of a file's name.
NAME_MOST = 200


class Limit(NamedTuple):
    """The most that a file may have, and what to do about it."""

    size_bytes: int
    remedy: str

    def check(self, size_bytes: int) -> None:
        """Raise AudioAboveLimit."""
        if size_bytes > self.size_bytes:
            raise AudioAboveLimit(f"The file is larger than {format_bytes(self.size_bytes)}: {self.remedy}.")


def limit_of(caller: Caller, settings: Settings) -> Limit:
    """Return the limit for a caller's files. Pure."""
    asking = "shorten it, or ask whoever runs the server to raise"
    limits = [
        Limit(settings.audio_max_bytes, f"{asking} GOLEM_AUDIO_MAX_BYTES"),
        Limit(settings.vault_limit, f"{asking} GOLEM_VAULT_LIMIT"),
    ]
    if caller.limits.upload_bytes is not None:
        limits.append(Limit(caller.limits.upload_bytes, f"{asking} the limit of your key"))
    return min(limits, key=lambda limit: limit.size_bytes)


def file_name(given: str) -> str:
    """Return the name of a file as a client gives it, without folders. Pure."""
    return storable(re.split(r"[/\\]", given)[-1].strip())[-NAME_MOST:] or "audio"


@dataclass
class Upload:
    """A file that came in whole: in the vault, under a name of its own, or as bytes."""

    name: str  # as the client calls it, without folders
    size_bytes: int
    sha256: str
    data: bytes | None = field(default=None, repr=False)
    uploaded: Uploaded | None = None  # instead of `data`
    kept: bool = False  # a job has it


class Incoming:
    """A file that comes in. `expected_bytes`: how many at most, where it is known, so that it finds space at once or
    not at all."""

    def __init__(self, door: Door, name: str, limit: Limit, expected_bytes: int = 0) -> None:
        self._door, self._limit = door, limit
        self._expected_bytes = min(expected_bytes, limit.size_bytes)
        self.name, self.size_bytes = name, 0
        self._upload, self._stored_bytes = Uploads.begin(), 0
        self._part, self._hash = bytearray(), hashlib.sha256()
        self._whole: Upload | None = None
        self._on_end: Callable[[], None] | None = None

    def on_end(self, call: Callable[[], None]) -> None:
        """Call this once, when no more bytes come."""
        self._on_end = call

    async def write(self, data: bytes | bytearray) -> None:
        """Take the next bytes. Raises AudioAboveLimit, VaultFull, UploadLost, BrokerAway."""
        self.size_bytes += len(data)
        self._limit.check(self.size_bytes)
        self._part += data
        while len(self._part) >= PART_BYTES:
            await self._store(bytes(self._part[:PART_BYTES]))
            del self._part[:PART_BYTES]

    async def finish(self) -> Upload:
        """Return the whole file. Raises HttpError for an empty one; as `write`."""
        if not self.size_bytes:
            raise HttpError(400, f'The file "{self.name}" is empty.', "empty_file", "file")
        if self._part:
            await self._store(bytes(self._part))
            self._part.clear()
        self._end()
        sha256 = self._hash.hexdigest()
        uploaded = Uploaded(self._upload, self.size_bytes, sha256)
        self._whole = Upload(self.name, self.size_bytes, sha256, uploaded=uploaded)
        return self._whole

    async def drop(self) -> None:
        """Drop what has come, unless a job has it. If that fails, it expires."""
        self._end()
        if self._stored_bytes and not (self._whole and self._whole.kept):
            with suppress(GolemError):
                await self._door.pipeline.discard(self._upload)

    def _end(self) -> None:
        call, self._on_end = self._on_end, None
        if call:
            call()

    async def _store(self, part: bytes) -> None:
        self._hash.update(part)
        before, self._stored_bytes = self._stored_bytes, self._stored_bytes + len(part)
        await self._door.pipeline.append(self._upload, before, part, self._expected_bytes, SPACE_S)


class Leftovers:
    """An ASGI middleware that drops the uploads of a request that belong to no job when it ends: it was refused, its
    client has left, or the job was known before."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._app(scope, receive, send)
        finally:
            for incoming in incoming_of(scope):
                await asyncio.shield(incoming.drop())


def incoming_of(scope: Any) -> list[Incoming]:
    """Return the files that came with a request: a list to add to."""
    found: list[Incoming] = scope.setdefault("state", {}).setdefault("incoming", []) if scope["type"] == "http" else []
    return found
