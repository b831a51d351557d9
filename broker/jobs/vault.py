"""The vault: what jobs bring along, in Redis up to a total limit: audio, and label sets and vocabularies too large for
a record. Audio can also be in files in folders that all boxes mount.

    reserve -> put -> kept (message published) -> end (Outcome stored) -> deleted after GOLEM_KEEP_S

Reserved bytes that are never published expire; what belongs to ended jobs is deleted earlier if a new job needs the
space. A label set is stored once, for all jobs that use it.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import redis

from golem_chain.broker.keys import UNCLAIMED_S, Keys
from golem_chain.broker.transport.scripts import Script
from golem_chain.shared.errors import (
    AudioAboveLimit,
    AudioMissing,
    BadAudio,
    BadLabels,
    BadRequest,
    BadVocabulary,
    VaultFull,
)
from golem_chain.shared.records import AudioRef, LabelSet, Vocabulary
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.shared.text import visible

_NO_SPACE, _CALL_AGAIN = 0, -1  # returned by the scripts that reserve


class Vault:
    """The audio of jobs in one Redis server and in the folders of GOLEM_AUDIO_ROOT. `pause` lets some seconds pass."""

    def __init__(self, settings: Settings, client: redis.Redis, pause: Callable[[float], object] = time.sleep) -> None:
        self._settings, self._client, self._keys = settings, client, Keys(settings.prefix)
        self._reserve, self._pause = Script(client, "reserve"), pause

    def put(self, job: str, data: bytes, ref: AudioRef, wait_s: float = 60.0) -> None:
        """Store a job's bytes, waiting up to `wait_s` seconds for space. Raises AudioAboveLimit, VaultFull."""
        limit = self._settings.vault_limit
        if len(data) > limit:
            raise AudioAboveLimit(
                f"The audio is {format_bytes(len(data))}, above the vault's limit of {format_bytes(limit)}: raise "
                "GOLEM_VAULT_LIMIT, or put the file under GOLEM_AUDIO_ROOT."
            )
        assert ref.key == f"vault:{job}"
        self._book(self._keys.audio(job), len(data), wait_s)
        self._client.set(self._keys.audio(job), data, ex=UNCLAIMED_S)

    def labels_key(self, labels: LabelSet) -> str:
        """Return the key of a label set: the hash of its content."""
        return self._keys.labels(hashlib.sha256(_body(labels)).hexdigest())

    def vocabulary_key(self, vocabulary: Vocabulary) -> str:
        """Return the key of a vocabulary."""
        return self._keys.vocabulary(hashlib.sha256(_body(vocabulary)).hexdigest())

    def put_labels(self, labels: LabelSet, wait_s: float = 60.0) -> None:
        """Store a label set for as long as jobs use it. Raises BadLabels, VaultFull."""
        body = _body(labels)
        if len(body) > self._settings.vault_limit:
            raise BadLabels(f"The label set has {format_bytes(len(body))}: raise GOLEM_VAULT_LIMIT.")
        self._put_shared(self.labels_key(labels), body, wait_s)

    def put_vocabulary(self, vocabulary: Vocabulary, wait_s: float = 60.0) -> None:
        """Store a vocabulary in the same way. Raises BadVocabulary, VaultFull."""
        body = _body(vocabulary)
        if len(body) > self._settings.vault_limit:
            raise BadVocabulary(f"The vocabulary has {format_bytes(len(body))}: raise GOLEM_VAULT_LIMIT.")
        self._put_shared(self.vocabulary_key(vocabulary), body, wait_s)

    def _put_shared(self, key: str, body: bytes, wait_s: float) -> None:
        self._book(key, len(body), wait_s)
        with self._client.pipeline() as pipe:
            pipe.set(key, body, nx=True)
            pipe.ttl(key)
            pipe.scard(self._keys.users(key))
            _, left_s, users = pipe.execute()
        if not users and left_s < UNCLAIMED_S:
            self._client.expire(key, UNCLAIMED_S)

    def _book(self, key: str, size_bytes: int, wait_s: float) -> None:
        """Reserve space, waiting up to `wait_s` seconds for it. Raises VaultFull."""
        keys, limit = self._keys, self._settings.vault_limit
        touched = [keys.vault_total, keys.vault_sizes, keys.vault_leaving, keys.vault_ended]
        args: list[str | int] = [keys.vault_name(key), size_bytes, limit, UNCLAIMED_S, f"{keys.prefix}:"]
        self.attempted(lambda: int(cast("int", self._reserve(keys=touched, args=[*args]))), wait_s)

    def attempted(self, attempt: Callable[[], int], wait_s: float) -> int:
        """Run a script that reserves space until there is some, for up to `wait_s` seconds, and return what it
        returns. Raises VaultFull."""
        limit = self._settings.vault_limit
        end, pause_s = time.monotonic() + wait_s, 0.02
        while (answer := attempt()) in (_NO_SPACE, _CALL_AGAIN):
            if answer == _CALL_AGAIN:  # each call drops entries, so this ends
                continue
            if time.monotonic() >= end:
                raise VaultFull(
                    f"The vault holds {format_bytes(self.size_bytes)} of {format_bytes(limit)} and did not drain in "
                    f"{wait_s:g} s: check that workers are running, or raise GOLEM_VAULT_LIMIT."
                )
            self._pause(min(pause_s, max(0.0, end - time.monotonic())))
            pause_s = min(pause_s * 1.5, 0.5)
        return answer

    @property
    def size_bytes(self) -> int:
        """Bytes reserved in total."""
        return int(cast("bytes | None", self._client.get(self._keys.vault_total)) or 0)

    def read(self, ref: AudioRef) -> bytes:
        """Return the bytes behind a reference. Raises AudioMissing, AudioAboveLimit, BadAudio, BadRequest."""
        where, _, what = ref.key.partition(":")
        if where == "file":
            read = read_file(within(Path(what), self._settings.audio_root), self._settings.audio_max_bytes)
            if ref.sha256 and hashlib.sha256(read).hexdigest() != ref.sha256:
                raise AudioMissing(f"{visible(what, 200)} has changed since it was submitted: submit it again.")
            return read
        if where != "vault":
            raise AudioMissing(f"The audio reference {visible(ref.key, 80)} is neither `vault:` nor `file:`.")
        data = cast("bytes | None", self._client.get(self._keys.audio(what)))
        if data is None:
            raise AudioMissing("The audio of this job is no longer in the vault: submit it again.")
        if ref.sha256 and hashlib.sha256(data).hexdigest() != ref.sha256:
            raise BadAudio("The audio in the vault differs from what was submitted (SHA-256): submit it again.")
        return data


def _body(stored: LabelSet | Vocabulary) -> bytes:
    return stored.model_dump_json(exclude_defaults=True).encode()


def within(path: Path, roots: tuple[Path, ...]) -> Path:
    """Return the path with links resolved. Raises AudioMissing if it does not exist or lies outside the roots."""
    try:
        real = path.resolve(strict=True)
        bases = [root.resolve(strict=True) for root in roots if root.exists()]
    except (OSError, RuntimeError, ValueError):  # ValueError: a NUL byte; RuntimeError: a loop of links
        raise AudioMissing(f"There is no file {visible(str(path), 200)} on this box.") from None
    if not any(real.is_relative_to(base) for base in bases):
        raise AudioMissing(
            f"{visible(str(path), 200)}, with links resolved, is outside the folders of GOLEM_AUDIO_ROOT: "
            "move it into one of them, or submit it through the vault."
        )
    return real


def read_file(path: Path, most_bytes: int) -> bytes:
    """Return the bytes of a regular file. Raises AudioMissing if it cannot be read, AudioAboveLimit above `most_bytes`,
    BadRequest if it is a folder, pipe, socket or device."""
    shown = visible(str(path), 200)
    try:
        # O_NONBLOCK: opening a pipe without a writer would block forever
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
                f"{shown} is {format_bytes(found.st_size)}, above the limit of {format_bytes(most_bytes)}: "
                "shorten it, or raise GOLEM_AUDIO_MAX_BYTES."
            )
        try:
            return file.read(most_bytes)  # a file that is still growing is cut here
        except OSError as exc:
            raise AudioMissing(f"{shown} cannot be read ({exc.strerror}).") from None
