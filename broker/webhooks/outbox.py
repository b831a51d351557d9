"""The messages in Redis, and their moves, each of them one script (`lua/`).

entry      of the outbox (stream), written together with the Outcome: job, url, outcome
message    `Keys.webhook`, from then on with all that is sent, however long ago the Outcome expired
due        in the queue of its origin: when to try it, or while it is tried, when its lease ends
dead       in a list, the newest DEAD_MOST, each for DEAD_KEEP_S
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import redis
from pydantic import ValidationError

from golem_chain.broker.keys import Keys
from golem_chain.broker.transport.scripts import load
from golem_chain.broker.webhooks.payload import body, message_id
from golem_chain.broker.webhooks.policy import URL_MOST, Policy, target
from golem_chain.broker.webhooks.schedule import PER_NEW, Room, Verdict
from golem_chain.shared.errors import BadRequest, BadWebhook
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Outcome
from golem_chain.shared.text import NAME

logger = logging.getLogger(__name__)

#: Dead messages that are kept, and for how many seconds: they hold what people said.
DEAD_MOST, DEAD_KEEP_S = 1000, 7 * 24 * 3600
#: Entries of the outbox that one round accepts: each may hold a long Outcome.
ENTRIES = 20


class Entry(NamedTuple):
    """An end that a URL is to be told."""

    id: str  # in the outbox
    job: str
    url: str
    outcome: bytes | None  # JSON; None: it has to be looked up


class Message(NamedTuple):
    """A message that was taken for a try."""

    id: str
    take: int
    job: str
    url: str
    body: bytes
    failed: int  # tries before this one
    origin: str
    at_s: float  # when it was taken, Unix seconds of the server


class Outbox:
    """The messages of one system. Every method raises redis.RedisError."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._accept, self._claim, self._settle, self._retry = (
            client.register_script(load(name, __package__)) for name in ("accept", "claim", "settle", "retry")
        )

    # -- what is allowed

    def open(self, policy: Policy) -> None:
        """State that a deliverer serves this system, and which URLs it accepts."""
        self._client.set(self._keys.webhooks_ready, json.dumps(policy.wire()))

    def check(self, url: str) -> None:
        """Raise BadWebhook unless a deliverer has served this system and would accept the URL."""
        found = cast("bytes | None", self._client.get(self._keys.webhooks_ready))
        if found is None:
            raise BadWebhook(
                "No deliverer of webhooks has run in this system: set GOLEM_WEBHOOK_SECRET and start golem deliver."
            )
        target(url, Policy.parse(json.loads(found)))

    # -- from the outbox to messages

    def entries(self) -> list[Entry]:
        """Return the oldest entries. Those that tell no job or no URL are dropped."""
        rows = cast("list[tuple[bytes, Mapping[bytes, bytes]]]", self._client.xrange(self._keys.outbox, count=ENTRIES))
        found = []
        for id, fields in rows:
            job, url = (fields.get(name, b"").decode(errors="replace") for name in (b"job", b"url"))
            if re.fullmatch(NAME, job) and url:
                found.append(Entry(id.decode(), job, url, fields.get(b"outcome")))
            else:
                logger.warning("an entry of the outbox that tells no job or no URL was dropped")
                self._move(id.decode(), "", "", "")
        return found

    def accept(self, entry: Entry, policy: Policy) -> str | None:
        """Make a message of an entry and return why it cannot be sent, None if it can, or if another deliverer was
        first."""
        origin, why, sent = "", "", b""
        try:
            origin = target(entry.url, policy).origin
            sent = self._body(entry)
        except BadWebhook as exc:
            why = exc.message
        fields: list[str | bytes] = ["job", entry.job, "url", entry.url[:URL_MOST], "body", sent]
        moved = self._move(entry.id, message_id(entry.job, entry.id), origin, why, fields)
        return why or None if moved else None

    def _move(self, entry: str, id: str, origin: str, why: str, fields: Sequence[str | bytes] = ()) -> bool:
        keys = self._keys
        touched = [keys.outbox, keys.webhook(id), keys.webhooks_of(origin), keys.webhooks, keys.webhooks_dead]
        fixed: list[Any] = [entry, id, origin, why, keys.webhook_prefix, DEAD_MOST, DEAD_KEEP_S * 1000]
        return bool(self._accept(touched, [*fixed, *fields]))

    def _body(self, entry: Entry) -> bytes:
        """Return what is to be sent. Raises BadWebhook if the Outcome is gone or is not one of this job."""
        found = entry.outcome or cast("bytes | None", self._client.get(self._keys.outcome(entry.job)))
        if found is None:
            raise BadWebhook("The Outcome expired before a deliverer ran: raise GOLEM_KEEP_S, or keep one running.")
        try:
            outcome = Outcome.model_validate_json(found)
        except ValidationError:
            raise BadWebhook("The Outcome cannot be read.") from None
        if outcome.job != entry.job:
            raise BadWebhook("The Outcome belongs to another job.")
        try:
            return body(outcome, entry.id)
        except (ValueError, OverflowError, OSError):
            raise BadWebhook("The entry's id in the outbox is not a time.") from None

    # -- tries

    def claim(self, room: Room, lease_s: float) -> list[Message]:
        """Take due messages, as many as there is room for."""
        fixed: list[Any] = [self._keys.webhooks_of(""), self._keys.webhook_prefix, lease_s]
        args = [*fixed, room.free, room.answering, room.new, PER_NEW]
        args += [part for pair in room.origins.items() for part in pair]
        now, taken = cast("tuple[bytes, list[Any]]", self._claim([self._keys.webhooks], args))
        return [
            Message(id.decode(), take, job.decode(), url.decode(), sent, int(failed), origin.decode(), float(now))
            for id, take, job, url, sent, failed, origin in taken
        ]

    def settle(self, message: Message, verdict: Verdict) -> list[str] | None:
        """End a try. Return the ids of dead messages that were dropped for it, None if the lease was lost."""
        return self._end(message, verdict.move, verdict.delay_s, verdict.why)

    def give_back(self, message: Message) -> None:
        """Make a message due at once that was taken and not tried to the end; it counts as no try."""
        self._end(message, "back", 0.0, "")

    def _end(self, message: Message, move: str, delay_s: float, why: str) -> list[str] | None:
        keys = self._keys
        touched = [keys.webhook(message.id), keys.webhooks_of(message.origin), keys.webhooks, keys.webhooks_dead]
        kept = [keys.webhook_prefix, DEAD_MOST, DEAD_KEEP_S * 1000]
        args: list[Any] = [message.id, message.take, message.origin, move, delay_s, why, *kept]
        done, *over = cast("list[Any]", self._settle(touched, args))
        return [id.decode() for id in over[0]] if done else None

    # -- dead messages

    def dead(self) -> list[JsonObject]:
        """Return the dead messages, newest first: id, job, origin, at (Unix seconds of the server), tries, error."""
        fields = ("job", "origin", "at", "tries", "error")
        ids = [id.decode() for id in cast("list[bytes]", self._client.lrange(self._keys.webhooks_dead, 0, -1))]
        with self._client.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hmget(self._keys.webhook(id), fields)
            rows = pipe.execute()
        told = []
        for id, row in zip(ids, rows, strict=True):
            if row[0] is not None:  # it has not expired
                job, origin, at, tries, error = (cell.decode(errors="replace") for cell in row)
                told.append(
                    {"id": id, "job": job, "origin": origin, "at": float(at), "tries": int(tries), "error": error}
                )
        return told

    def retry(self, id: str) -> None:
        """Make a dead message due at once. Raises BadRequest if there is none, or if it has nothing to send."""
        keys = self._keys
        origin, sent = cast("list[bytes | None]", self._client.hmget(keys.webhook(id), ["origin", "body"]))
        if origin is not None and not sent:
            raise BadRequest(f"The webhook {id} has nothing that could be sent: see its error in golem deliver --dead.")
        named = (origin or b"").decode()
        touched = [keys.webhooks_dead, keys.webhook(id), keys.webhooks_of(named), keys.webhooks]
        if not self._retry(touched, [id, named]):
            raise BadRequest(f"There is no dead webhook {id[:80]!a}: golem deliver --dead shows the existing ones.")
