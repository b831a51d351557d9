"""Audio on its way to the Scribe: bytes in Redis with a limit on their sum, or files under folders all boxes mount.

    reserve -> put -> confirmed (its message is sent) -> end (its Outcome is stored) -> gone after GOLEM_KEEP_S

What was reserved and never claimed goes by itself; what has ended goes earlier when a new job needs the room.
"""

import hashlib
import os
import stat
import struct
import time
from pathlib import Path
from typing import cast

import redis

from golem_chain.broker import keys
from golem_chain.broker.transport.scripts import load
from golem_chain.shared.errors import AudioAboveLimit, AudioMissing, BadAudio, BadRequest, VaultFull
from golem_chain.shared.records import AudioRef
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.shared.text import visible

UNCLAIMED_S = 3600  # bytes whose producer died before its message was sent, seconds
LEAST_BYTES_PER_S = 2000  # 16 kbit/s: speech is rarely packed tighter, so that bytes / this is an upper estimate


class Vault:
    """The audio of jobs in one Redis, and in the folders of GOLEM_AUDIO_ROOT."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._settings, self._client = settings, client
        self._reserve = client.register_script(load("reserve", __package__))

    def put(self, job: str, data: bytes, ref: AudioRef, wait_s: float = 60.0) -> None:
        """Store the bytes of a job, waiting up to `wait_s` for room. Raises AudioAboveLimit, VaultFull."""
        limit = self._settings.vault_limit
        if len(data) > limit:
            raise AudioAboveLimit(
                f"The audio has {format_bytes(len(data))} and the vault holds {format_bytes(limit)}: raise "
                "GOLEM_VAULT_LIMIT, or put the file under GOLEM_AUDIO_ROOT."
            )
        assert ref.key == f"vault:{job}"
        books = [keys.VAULT_TOTAL, keys.VAULT_SIZES, keys.VAULT_LEAVING, keys.VAULT_ENDED]
        args: list[str | int] = [job, len(data), limit, UNCLAIMED_S, keys.AUDIO_PREFIX]
        end, pause_s = time.monotonic() + wait_s, 0.02
        while not self._reserve(keys=books, args=[*args]):
            if time.monotonic() >= end:
                raise VaultFull(
                    f"The vault holds {format_bytes(self.size_bytes)} of {format_bytes(limit)} and did not drain in "
                    f"{wait_s:g} s: see that workers run, or raise GOLEM_VAULT_LIMIT."
                )
            time.sleep(min(pause_s, max(0.0, end - time.monotonic())))
            pause_s = min(pause_s * 1.5, 0.5)
        self._client.set(keys.audio(job), data, ex=UNCLAIMED_S)

    def drop(self, job: str) -> None:
        """Forget the bytes of a job whose message was not sent."""
        with self._client.pipeline() as pipe:
            pipe.zadd(keys.VAULT_LEAVING, {job: 0})  # the books are put right at the next `put`
            pipe.delete(keys.audio(job))
            pipe.execute()

    @property
    def size_bytes(self) -> int:
        """Bytes that are booked."""
        return int(cast("bytes | None", self._client.get(keys.VAULT_TOTAL)) or 0)

    def read(self, ref: AudioRef) -> bytes:
        """The bytes behind a reference. Raises AudioMissing, AudioAboveLimit, BadAudio."""
        where, _, what = ref.key.partition(":")
        if where == "file":
            return read_file(within(Path(what), self._settings.audio_root), self._settings.audio_max_bytes)
        if where != "vault":
            raise AudioMissing(f"The audio reference {visible(ref.key, 80)} is neither `vault:` nor `file:`.")
        data = cast("bytes | None", self._client.get(keys.audio(what)))
        if data is None:
            raise AudioMissing("The audio of this job is no longer in the vault: submit it again.")
        if ref.sha256 and hashlib.sha256(data).hexdigest() != ref.sha256:
            raise BadAudio("The audio in the vault is not what was submitted (its SHA-256 differs): submit it again.")
        return data


def within(path: Path, roots: tuple[Path, ...]) -> Path:
    """The path with all links resolved, if it then lies under one of the roots. Raises AudioMissing."""
    try:
        real = path.resolve(strict=True)
        bases = [root.resolve(strict=True) for root in roots if root.exists()]
    except (OSError, RuntimeError, ValueError):  # ValueError: a NUL byte; RuntimeError: links in a circle
        raise AudioMissing(f"There is no file {visible(str(path), 200)} on this box.") from None
    if not any(real.is_relative_to(base) for base in bases):
        raise AudioMissing(
            f"{visible(str(path), 200)} is not under a folder of GOLEM_AUDIO_ROOT once links are followed: "
            "move it there, or submit it through the vault."
        )
    return real


def read_file(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file: no folder, pipe or device, at most `most_bytes`. Raises AudioMissing,
    AudioAboveLimit, BadRequest."""
    shown = visible(str(path), 200)
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not a path"
        raise AudioMissing(f"{shown} cannot be opened ({why}): check the path and its permissions.") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise BadRequest(f"{shown} is {kind}, not a file: give an audio file.")
    with os.fdopen(descriptor, "rb") as file:
        if found.st_size > most_bytes:
            raise AudioAboveLimit(
                f"{shown} has {format_bytes(found.st_size)}, at most {format_bytes(most_bytes)} are accepted: "
                "cut it, or raise GOLEM_AUDIO_MAX_BYTES."
            )
        try:
            return file.read(most_bytes)  # a file that grows meanwhile is cut, not followed
        except OSError as exc:
            raise AudioMissing(f"{shown} cannot be read ({exc.strerror}).") from None


def about_s(head: bytes, size_bytes: int, most_s: float) -> float:
    """An upper estimate of the length of audio, seconds, from its first bytes and its size; at most `most_s`.

    RIFF WAVE with PCM or float samples says how many bytes a second takes; anything else is taken to be packed tight.
    """
    rate = LEAST_BYTES_PER_S
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        at = 12
        while at + 8 <= len(head):
            chunk, size = struct.unpack_from("<4sI", head, at)
            if chunk == b"fmt " and at + 24 <= len(head):
                form, channels, hertz, _, _, bits = struct.unpack_from("<HHIIHH", head, at + 8)
                if form in (1, 3, 0xFFFE):  # PCM, float, extensible
                    rate = max(rate, channels * hertz * bits // 8)
                break
            at += 8 + size + size % 2
    return min(round(size_bytes / rate, 3), most_s)
