"""Ids derived from a job's content: the bytes of its audio and what is asked, under a secret of the system.

The same content has the same id, so that it runs once while its Outcome is kept. Who knows an id can read the job: a
plain hash could be computed by anybody who guesses the audio, so the id is an HMAC (RFC 2104) whose key is in Redis.
"""

import hashlib
import hmac
import secrets
from typing import cast

import redis

from golem_chain.broker.connection import reaching
from golem_chain.broker.jobs.records import digest
from golem_chain.broker.keys import Keys
from golem_chain.shared.records import Job
from golem_chain.shared.settings import Settings

#: The id of a job that waits for one. It is part of what is digested, and so it never changes.
UNNAMED = "content"
SALT_BYTES = 32
ID_DIGITS = 40  # hexadecimal: 160 bits, so that no two contents share an id


def content_id(salt: bytes, request: str, again: str | None = None) -> str:
    """Return the id for the digest of a request; `again` is the id of a failed job of the same request. Pure."""
    asked = request if again is None else f"{request} {again}"
    return hmac.new(salt, asked.encode(), hashlib.sha256).hexdigest()[:ID_DIGITS]


class ContentIds:
    """The ids of one system. Its secret is read once, and created by the first who needs it."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._settings, self._client, self._key = settings, client, Keys(settings.prefix).salt
        self._known: bytes | None = None

    def named(self, job: Job, again: str | None = None) -> Job:
        """Return a job whose id is UNNAMED under the id of its content, or of another try after the job `again`. Its
        audio has its SHA-256, and label set and vocabulary are part of the record. Raises BrokerAway."""
        id = content_id(self.salt(), digest(job), again)
        audio = job.audio
        if audio and audio.key == f"vault:{UNNAMED}":
            audio = audio.model_copy(update={"key": f"vault:{id}"})
        return job.model_copy(update={"id": id, "audio": audio})

    def salt(self) -> bytes:
        """Return the secret. Raises BrokerAway."""
        if self._known is None:
            with reaching(self._settings):
                found = cast("bytes | None", self._client.get(self._key))
                if found is None:
                    self._client.setnx(self._key, secrets.token_bytes(SALT_BYTES))
                    found = cast("bytes", self._client.get(self._key))  # another producer may have been the first
            self._known = found
        return self._known
