"""Acknowledgements, requeues, leases and dead letters of messages in hand, across connections."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kombu.log import get_logger
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from golem_chain.broker.keys import OLD_UNACKED, OLD_UNACKED_INDEX, Keys
from golem_chain.broker.transport import scripts
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.broker.transport.dead_letter import Letter

logger = get_logger(__name__)

#: Tags that one script looks at, so that it never holds up the server.
_ADOPTED_AT_ONCE = 100


class QoS(redis.QoS):
    """Kombu's QoS over our Redis keys. Closing a connection requeues nothing, because the child may still be working on
    the messages: `give_back` requeues on purpose, and an expired lease does when a box dies."""

    restore_at_shutdown = False

    @property
    def _state(self) -> ConsumerState:
        """The worker's state, shared by its channels."""
        state: ConsumerState = self.channel.consumer_state
        return state

    @property
    def _keys(self) -> Keys:
        keys: Keys = self.channel.keys
        return keys

    def can_consume(self) -> bool:
        """Apply the prefetch limit to all messages in hand, whichever connection they came over."""
        return not self._state.stopping and (not self.prefetch_count or len(self._state.in_hand) < self.prefetch_count)

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a delivery; a message from `take` is already in the unacknowledged hash."""
        booked = virtual.QoS if message._raw.pop("booked", False) else redis.QoS
        booked.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge the message."""
        self._state.owed.add(delivery_tag)  # if Redis is down, `settle` acknowledges it later
        with self._client() as client:
            _remove(client.pipeline(), self, delivery_tag).execute()
        self._state.owed.discard(delivery_tag)
        self._forget(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Requeue the message at the head of its queue, or make it a dead letter."""
        if requeue:
            self._requeue(delivery_tag)
        else:
            message = self._delivered.get(delivery_tag)
            raw = dumps(message._raw) if message is not None else ""
            self.bury(delivery_tag, raw, "rejected", _queue_of(message))
        self._forget(delivery_tag)

    def hand_back(self, tag: str) -> None:
        """Requeue a message unharmed: this was no delivery. While Redis is down, `settle` does it later."""
        self._state.unharmed.add(tag)
        if self._requeue(tag, uncounted=True):
            self._state.unharmed.discard(tag)
        self._forget(tag)

    def _requeue(self, tag: str, *, uncounted: bool = False) -> bool:
        """Requeue a message; return False while Redis is down: we are still its holder, and `settle` requeues it."""
        try:
            self.restore_by_tag(tag, uncounted=uncounted)
        except self.channel.connection_errors as exc:
            self._state.unsettled = True
            logger.warning("Message %s will be requeued when Redis is back: %s", tag, exc)
            return False
        return True

    def bury(self, tag: str, raw: str, why: str, queue: str) -> None:
        """Make a message a dead letter."""
        with self._client() as client:
            seconds, micros = client.time()
            at = seconds + micros / 1e6
            letter = json.dumps({"raw": raw, "why": why, "queue": queue, "at": at, "box": self.channel.box})
            _remove(client.pipeline().lpush(self._keys.dead, letter), self, tag).execute()
            forgotten = client.eval(scripts.FORGET, 1, self._keys.dead)
        self._state.done(tag)
        logger.error("A message of queue %s became a dead letter: %s", queue, why)
        log_forgotten(forgotten)

    def crashed(self, tag: str, error: str) -> None:
        """Store a worker's error on the message, for its dead letter."""
        with self._client() as client:
            client.hset(self._keys.crashes, tag, error)

    def restore_by_tag(
        self, tag: str, client: Any = None, leftmost: bool = False, *, uncounted: bool = False, whose: str | None = None
    ) -> None:
        """Requeue a message. `uncounted`: it was handed back unharmed and does not count as a delivery. `whose`: the
        box that must hold it, None for ours and empty for any."""
        del leftmost  # always to the head of the queue: the message has waited before
        with self._client(client) as client:
            entry = client.hget(self.unacked_key, tag)
            if entry is None:
                client.zrem(self.unacked_index_key, tag)
                self._state.done(bytes_to_str(tag))
                return
            try:
                message, exchange, routing_key = loads(bytes_to_str(entry))
                if not uncounted:  # a message handed back unharmed may run in a batch again
                    message["headers"]["redelivered"] = True
                    message["properties"]["delivery_info"]["redelivered"] = True
            except Exception as exc:  # noqa: BLE001  (Lua's JSON parser accepts text that Python's rejects)
                self.bury(bytes_to_str(tag), bytes_to_str(entry), f"cannot be requeued: {exc!r}", "")
                return
            keys, names = self._keys, self.channel._lookup(exchange, routing_key)
            queues = [key for name in names for key in (keys.queue(name), keys.wake(name))]
            touched = (self.unacked_key, self.unacked_index_key, keys.deliveries, keys.holders, *queues)
            whose = self.channel.box if whose is None else whose
            client.eval(scripts.RESTORE, len(touched), *touched, tag, dumps(message), int(uncounted), whose)
        self._state.done(bytes_to_str(tag))

    def restore_visible(self, start: int = 0, num: int | None = 10, interval: int = 10) -> None:
        """Requeue messages whose lease has expired."""
        del start, num, interval
        with self._client() as client:
            for tag in client.eval(scripts.EXPIRED, 1, self.unacked_index_key, self.visibility_timeout):
                if bytes_to_str(tag) not in self._state.in_hand:  # ours: only the renewal was late
                    logger.warning("The lease of message %s expired: requeued", bytes_to_str(tag))
                    self._restore_or_log(tag, client, whose="")

    def renew(self) -> None:
        """Renew the leases of all messages in hand."""
        if self._state.in_hand:
            with self._client() as client:
                client.eval(scripts.RENEW, 1, self.unacked_index_key, *self._state.in_hand)

    def give_back(self) -> int:
        """Requeue all messages in hand in their order, without counting a delivery, and return their number."""
        tags = list(self._state.in_hand)
        for tag in reversed(tags):
            self.restore_by_tag(tag, uncounted=True)
            self._forget(tag)
        return len(tags)

    def adopt(self) -> int:
        """Move what workers of 0.1 had in hand, under kombu's default names, to our own keys, except what a live worker
        holds. Return how many messages that were."""
        with self._client() as client:
            if not client.exists(OLD_UNACKED):
                return 0
            books = (OLD_UNACKED, OLD_UNACKED_INDEX, self.unacked_key, self.unacked_index_key, self._keys.holders)
            fixed = (len(books), *books, self.channel.box, self._keys.box_prefix)
            tags = client.hkeys(self._keys.holders)
            parts = (tags[i : i + _ADOPTED_AT_ONCE] for i in range(0, len(tags), _ADOPTED_AT_ONCE))
            moved = sum(int(client.eval(scripts.ADOPT, *fixed, *part)) for part in parts)
        if moved:
            logger.warning("Took over %d message(s) that workers of 0.1 had in hand", moved)
        return moved

    def settle(self) -> int:
        """Reconcile with Redis on a new connection, or when it accepts writes again: acknowledge what ended meanwhile,
        and requeue messages that Redis assigns to this worker but are not in hand. A dead worker of the same name left
        those behind, or they were in transit when the connection broke. Returns the number of requeued messages."""
        self.adopt()
        with self._client() as client:
            for tag in list(self._state.owed):
                _remove(client.pipeline(), self, tag).execute()
                self._state.owed.discard(tag)
                self._forget(tag)
            ours = [
                bytes_to_str(tag)
                for tag, box in client.hgetall(self._keys.holders).items()
                if bytes_to_str(box) == self.channel.box
            ]
            left = [tag for tag in ours if tag not in self._state.in_hand and client.hexists(self.unacked_key, tag)]
            for tag in left:
                self._restore_or_log(tag, client, uncounted=tag in self._state.unharmed)
        self._state.unharmed.clear()
        self._state.unsettled = False
        self.renew()
        return len(left)

    def _restore_or_log(self, tag: str, client: Any, **how: Any) -> None:
        """Requeue one of several messages; an error is logged so that the others are still requeued."""
        try:
            self.restore_by_tag(tag, client, **how)
        except self.channel.connection_errors:
            raise
        except Exception:
            logger.exception("Message %s could not be requeued", bytes_to_str(tag))

    @contextmanager
    def _client(self, client: Any = None) -> Iterator[Any]:
        """Yield a client of our channel, or of the channel that replaced it after the connection broke."""
        channel = self.channel if self.channel.connection is not None else self._state.channel
        assert channel is not None  # there is a message, so there was a channel
        with channel.conn_or_acquire(client) as live:
            yield live

    def _forget(self, tag: str) -> None:
        self._state.done(tag)
        self._quick_ack(tag)


def log_forgotten(bodies: Iterable[bytes]) -> None:
    """Log the letters that were dropped because only the newest `scripts.DEAD_MOST` are kept."""
    for row in (Letter(body).summary() for body in bodies):
        logger.error(
            "The dead letter %s of queue %s (job %s, %s) was dropped: only the newest %d are kept",
            *(row["letter"], row["queue"], row["job"] or "none", row["why"], scripts.DEAD_MOST),
        )


def _queue_of(message: Any) -> str:
    return str((message.delivery_info or {}).get("routing_key", "")) if message is not None else ""


def _remove(pipe: Any, qos: QoS, tag: str) -> Any:
    """Queue the commands that delete a message from every key of messages in hand."""
    pipe.zrem(qos.unacked_index_key, tag).hdel(qos.unacked_key, tag)
    keys = qos.channel.keys
    return pipe.hdel(keys.holders, tag).hdel(keys.deliveries, tag).hdel(keys.crashes, tag)
