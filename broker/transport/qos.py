"""The books of messages in hand: ack, put back, lease, dead letter, on any connection."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kombu.log import get_logger
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from golem_chain.broker import keys
from golem_chain.broker.transport import scripts
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.broker.transport.dead_letter import Letter

logger = get_logger(__name__)


class QoS(redis.QoS):
    """Kombu's acknowledgements over our books. Nothing is put back by the mere end of a connection: the child may be
    at work on it. `give_back` does that on purpose, and the lease does where a box died."""

    restore_at_shutdown = False

    @property
    def _state(self) -> ConsumerState:
        """The same for all channels of a worker."""
        state: ConsumerState = self.channel.consumer_state
        return state

    def can_consume(self) -> bool:
        """Credit by what the process has in hand, whichever connection it came over."""
        return not self._state.stopping and (not self.prefetch_count or len(self._state.in_hand) < self.prefetch_count)

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a delivery; a message of ours is in the books already."""
        booked = virtual.QoS if message._raw.pop("booked", False) else redis.QoS
        booked.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """The message has ended."""
        self._state.owed.add(delivery_tag)  # if Redis is away, `settle` does it
        with self._client() as client:
            _strike(client.pipeline(), self, delivery_tag).execute()
        self._state.owed.discard(delivery_tag)
        self._forget(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put the message back, to be taken next; or bury it, since nobody will ever end it."""
        if requeue:
            try:
                self.restore_by_tag(delivery_tag)
            except self.channel.connection_errors as exc:  # the books still name us: `settle` does it
                self._state.unsettled = True
                logger.warning("%s is put back when Redis takes it: %s", delivery_tag, exc)
        else:
            message = self._delivered.get(delivery_tag)
            raw = dumps(message._raw) if message is not None else ""
            self.bury(delivery_tag, raw, "rejected", _queue_of(message))
        self._forget(delivery_tag)

    def bury(self, tag: str, raw: str, why: str, queue: str) -> None:
        """Make a dead letter of a message that nobody can run."""
        with self._client() as client:
            seconds, micros = client.time()
            at = seconds + micros / 1e6
            letter = json.dumps({"raw": raw, "why": why, "queue": queue, "at": at, "box": self.channel.box})
            _strike(client.pipeline().lpush(keys.DEAD, letter), self, tag).execute()
            forgotten = client.eval(scripts.FORGET, 1, keys.DEAD)
        self._state.done(tag)
        logger.error("A message of %s became a dead letter: %s", queue, why)
        log_forgotten(forgotten)

    def crashed(self, tag: str, error: str) -> None:
        """Write down what was heard of a worker that failed on the message, for a dead letter to tell."""
        with self._client() as client:
            client.hset(keys.CRASHES, tag, error)

    def restore_by_tag(
        self, tag: str, client: Any = None, leftmost: bool = False, *, uncounted: bool = False, whose: str | None = None
    ) -> None:
        """Put a message back. `uncounted`: it was handed back unharmed, so this was no delivery. `whose`: the box that
        must hold it, None for ours and empty for any."""
        del leftmost  # always to where it is taken next: it has waited before
        with self._client(client) as client:
            book = client.hget(self.unacked_key, tag)
            if book is None:
                client.zrem(self.unacked_index_key, tag)
                self._state.done(bytes_to_str(tag))
                return
            try:
                message, exchange, routing_key = loads(bytes_to_str(book))
                if not uncounted:  # a message that was given back unharmed may run in a batch again
                    message["headers"]["redelivered"] = True
                    message["properties"]["delivery_info"]["redelivered"] = True
            except Exception as exc:  # noqa: BLE001  (Lua and Python do not agree on what JSON is)
                self.bury(bytes_to_str(tag), bytes_to_str(book), f"cannot be put back: {exc!r}", "")
                return
            ways = [key for queue in self.channel._lookup(exchange, routing_key) for key in (queue, keys.wake(queue))]
            touched = (self.unacked_key, self.unacked_index_key, keys.DELIVERIES, keys.HOLDERS, *ways)
            whose = self.channel.box if whose is None else whose
            client.eval(scripts.RESTORE, len(touched), *touched, tag, dumps(message), int(uncounted), whose)
        self._state.done(bytes_to_str(tag))

    def restore_visible(self, start: int = 0, num: int | None = 10, interval: int = 10) -> None:
        """Put back what other boxes have let go: their leases are over."""
        del start, num, interval
        with self._client() as client:
            for tag in client.eval(scripts.EXPIRED, 1, self.unacked_index_key, self.visibility_timeout):
                if bytes_to_str(tag) not in self._state.in_hand:  # ours: the renewal was late, no more
                    logger.warning("The lease of %s is over: put back", bytes_to_str(tag))
                    self._restore_or_say(tag, client, whose="")

    def renew(self) -> None:
        """Renew the lease of all that is in hand."""
        if self._state.in_hand:
            with self._client() as client:
                client.eval(scripts.RENEW, 1, self.unacked_index_key, *self._state.in_hand)

    def give_back(self) -> int:
        """Hand back all that is in hand, unharmed and uncounted, in the order in which it waited. Gives how many."""
        tags = list(self._state.in_hand)
        for tag in reversed(tags):
            self.restore_by_tag(tag, uncounted=True)
            self._forget(tag)
        return len(tags)

    def settle(self) -> int:
        """On a fresh connection, or when Redis takes writes again: end what could not be ended while it was away, and
        put back what the books say that this box has but nobody here works on. That is what a dead worker of the same
        name left behind, or what was on its way when the connection broke. Gives how many were put back."""
        with self._client() as client:
            for tag in list(self._state.owed):
                _strike(client.pipeline(), self, tag).execute()
                self._state.owed.discard(tag)
                self._forget(tag)
            ours = [
                bytes_to_str(tag)
                for tag, box in client.hgetall(keys.HOLDERS).items()
                if bytes_to_str(box) == self.channel.box
            ]
            left = [tag for tag in ours if tag not in self._state.in_hand and client.hexists(self.unacked_key, tag)]
            for tag in left:
                self._restore_or_say(tag, client)
        self._state.unsettled = False
        self.renew()
        return len(left)

    def _restore_or_say(self, tag: str, client: Any, **how: Any) -> None:
        """Put one of several messages back; what is wrong with it must not keep the others from it."""
        try:
            self.restore_by_tag(tag, client, **how)
        except self.channel.connection_errors:
            raise
        except Exception:
            logger.exception("%s could not be put back", bytes_to_str(tag))

    @contextmanager
    def _client(self, client: Any = None) -> Iterator[Any]:
        """A client of our channel, or of the one that took its place after the connection broke."""
        channel = self.channel if self.channel.connection is not None else self._state.channel
        assert channel is not None  # messages came in over one
        with channel.conn_or_acquire(client) as live:
            yield live

    def _forget(self, tag: str) -> None:
        self._state.done(tag)
        self._quick_ack(tag)


def log_forgotten(bodies: Iterable[bytes]) -> None:
    """Say which letters fell out of the list of dead letters: it keeps the newest `scripts.DEAD_MOST`."""
    for told in (Letter(body).summary() for body in bodies):
        logger.error(
            "The dead letter %s of %s (job %s, %s) fell out: the newest %d are kept",
            *(told["letter"], told["queue"], told["job"] or "none", told["why"], scripts.DEAD_MOST),
        )


def _queue_of(message: Any) -> str:
    return str((message.delivery_info or {}).get("routing_key", "")) if message is not None else ""


def _strike(pipe: Any, qos: QoS, tag: str) -> Any:
    """Strike a message out of all books."""
    pipe.zrem(qos.unacked_index_key, tag).hdel(qos.unacked_key, tag)
    return pipe.hdel(keys.HOLDERS, tag).hdel(keys.DELIVERIES, tag).hdel(keys.CRASHES, tag)
