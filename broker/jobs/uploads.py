"""Uploads: audio that comes in parts and is stored as it comes, before there is a job that it belongs to.

    append, append … -> claim: the audio of a job, from then on as in `vault`
                     -> discard, or expiry UNCLAIMED_S after the last part

Space is reserved before bytes come. Nobody reads an upload: its name is random, and its claim renames it.
"""

import secrets
import time
from collections.abc import Callable
from typing import NamedTuple, cast

import redis

from golem_chain.broker.jobs.vault import Vault
from golem_chain.broker.keys import UNCLAIMED_S, Keys
from golem_chain.broker.transport.scripts import Script
from golem_chain.shared.errors import UploadLost
from golem_chain.shared.settings import Settings

_LOST = -2, -1  # returned by the scripts that append and claim


class Uploaded(NamedTuple):
    """Audio that has come in whole."""

    upload: str  # its name
    size_bytes: int
    sha256: str


class Uploads:
    """The uploads of one Redis server. `pause` lets some seconds pass."""

    def __init__(self, settings: Settings, client: redis.Redis, pause: Callable[[float], object] = time.sleep) -> None:
        self._settings, self._keys = settings, Keys(settings.prefix)
        self._vault = Vault(settings, client, pause)
        self._append, self._claim, self._discard = (Script(client, name) for name in ("append", "claim", "discard"))

    @staticmethod
    def begin() -> str:
        """Return the name of a new upload."""
        return secrets.token_hex(16)

    def append(self, upload: str, before_bytes: int, part: bytes, expected_bytes: int, wait_s: float = 0.0) -> None:
        """Append a part after the bytes that are there, waiting up to `wait_s` seconds for space. Safe to repeat.

        Space is reserved for `expected_bytes` at the first part. Raises VaultFull, UploadLost.
        """
        given = [before_bytes, part, expected_bytes, self._settings.vault_limit, UNCLAIMED_S, f"{self._keys.prefix}:"]
        answer = self._vault.attempted(
            lambda: int(cast("int", self._append(keys=self._books, args=[*self._named(upload), *given]))), wait_s
        )
        if answer == _LOST[0]:
            raise _lost()

    def claim(self, job: str, uploaded: Uploaded) -> bool:
        """Make an upload the audio of a registered job; drop it and return False if the job was submitted meanwhile.
        Safe to repeat. Raises UploadLost."""
        keys = self._keys
        given = [*self._named(uploaded.upload), keys.audio(job), job, uploaded.size_bytes, UNCLAIMED_S]
        answer = int(cast("int", self._claim(keys=[keys.job(job), *self._books], args=given)))
        if answer == _LOST[1]:
            raise _lost()
        return bool(answer)

    def discard(self, upload: str) -> None:
        """Drop an upload, if it is there, and free its space."""
        self._discard(keys=self._books, args=self._named(upload))

    def _named(self, upload: str) -> list[str | int | bytes]:
        key = self._keys.upload(upload)
        return [key, self._keys.vault_name(key)]

    @property
    def _books(self) -> list[str]:
        keys = self._keys
        return [keys.vault_total, keys.vault_sizes, keys.vault_leaving, keys.vault_ended]


def _lost() -> UploadLost:
    return UploadLost("The audio was lost on its way, because Redis was restarted or it took too long: send it again.")
