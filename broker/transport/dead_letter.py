"""A dead letter, and a safe view of its untrusted content."""

import hashlib
import json
from base64 import b64decode
from dataclasses import dataclass
from functools import cached_property

from golem_chain.broker.queues import STAGES, job_of
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.text import visible

#: Characters of the untrusted message that are shown.
SHOWN = 2000


@dataclass(frozen=True)
class Letter:
    """One entry of `golem:dead`. Workers wrote it, but `raw`, the message itself, can come from anyone."""

    body: bytes

    @property
    def id(self) -> str:
        """Twelve hex digits that identify the letter."""
        return hashlib.sha256(self.body).hexdigest()[:12]

    @cached_property
    def told(self) -> JsonObject:
        """Those of raw, why, queue, at, box, deliveries and error that are present."""
        try:
            told = json.loads(self.body.decode(errors="backslashreplace"))
        except (ValueError, RecursionError):
            told = None
        return told if isinstance(told, dict) else {"raw": self.body.decode(errors="backslashreplace"), "why": "?"}

    @property
    def raw(self) -> str:
        """The message as it was in the queue."""
        return str(self.told.get("raw", ""))

    @cached_property
    def message(self) -> JsonObject | None:
        """The parsed message, None unless it is one of our stages' messages."""
        try:
            message = json.loads(self.raw)
            id_ = message["headers"]["id"]
            id_.encode()  # half a surrogate pair cannot be part of a key
            json.loads(b64decode(message["body"]))
            known = message["headers"]["task"].removeprefix("golem.") in STAGES and isinstance(id_, str)
            return message if known and self.told.get("queue") in STAGES else None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    @property
    def job(self) -> str | None:
        """The id of the job, None for a malformed message."""
        return (job_of(self.message["headers"]["id"]) or None) if self.message else None

    def summary(self) -> JsonObject:
        """Return a row for listings, in JSON types: short printable values, none of the user's content."""
        told = self.told
        at, deliveries = told.get("at"), told.get("deliveries")
        return {
            "letter": self.id,
            "job": visible(self.job, 64) if self.job else None,
            "queue": visible(str(told.get("queue", "")), 40),
            "why": visible(str(told.get("why", "")), 200),
            "error": visible(str(told["error"]), 200) if told.get("error") else None,
            "box": visible(str(told.get("box") or ""), 80),
            "deliveries": deliveries if isinstance(deliveries, int) else None,
            "at": at if isinstance(at, int | float) else None,
            "size_bytes": len(self.body),
        }

    def shown(self) -> JsonObject:
        """Return the summary plus the start of the message, escaped."""
        return {**self.summary(), "raw": visible(self.raw[:SHOWN]), "raw_cut": len(self.raw) > SHOWN}
