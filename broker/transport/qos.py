"""Messages in hand, across connections: leases, requeues, acknowledgements, dead letters. The child finishes stages by
itself (`broker.jobs.stages`), so that an acknowledgement here is the exception: a message of a revoked task."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kombu.log import get_logger
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str

from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import scripts
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.broker.transport.dead_letter import Letter
from golem_chain.broker.wire import WIRE

logger = get_logger(__name__)

#: Tags that one script looks at, so that it never holds up the server.
_AT_ONCE = 100


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
        virtual.QoS.append(self, message, delivery_tag)

    # -- ends of a message -------------------------------------------------------------------------------------------

    def finished(self, tag: str, delivery: int) -> None:
        """Note that the child has finished this delivery, or that its lease was lost: nothing is left to do here."""
        if self._state.in_hand.get(tag) == delivery:
            self._state.done(tag)
        self._quick_ack(tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge the message; while Redis is down, `settle` does it later."""
        delivery = self._state.in_hand.get(delivery_tag, 0)
        self._state.owed[delivery_tag] = delivery
        with self._client() as client:
            self._strike(client, delivery_tag, delivery)
        self._state.owed.pop(delivery_tag, None)
        self.finished(delivery_tag, delivery)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Requeue the message at the head of its queue, or make it a dead letter."""
        if requeue:
            self.requeue(delivery_tag, self._state.in_hand.get(delivery_tag, 0))
        else:
            self.bury(delivery_tag, "rejected")

    def requeue(self, tag: str, delivery: int, *, uncounted: bool = False, error: str = "") -> None:
        """Requeue a message. `uncounted`: it goes back unharmed, this was no delivery. `error`: of the worker, for its
        dead letter. While Redis is down we are still its holder, and `settle` requeues it."""
        if uncounted:
            self._state.unharmed.add(tag)
        try:
            self._restore({tag: delivery}, uncounted=uncounted, error=error)
            self._state.unharmed.discard(tag)
        except (*self.channel.connection_errors, self.channel.ResponseError) as exc:
            self._state.unsettled = True
            logger.warning("Message %s will be requeued when Redis is back: %s", tag, exc)
        self.finished(tag, delivery)

    def bury(self, tag: str, why: str) -> None:
        """Make a message a dead letter. Its job is ended by `DeadLetterStep`."""
        delivery = self._state.in_hand.get(tag, 0)
        with self._client() as client:
            touched = (*self._books, self._keys.dead, self._keys.dying)
            forgotten = client.eval(scripts.BURY, len(touched), *touched, tag, self.channel.box, delivery, why)
        self.finished(tag, delivery)
        logger.error("Message %s became a dead letter: %s", tag, why)
        log_forgotten(forgotten or ())

    # -- leases ------------------------------------------------------------------------------------------------------

    def renew(self) -> None:
        """Renew the leases of all messages in hand."""
        if self._state.in_hand:
            held = [part for pair in self._state.in_hand.items() for part in pair]
            with self._client() as client:
                client.eval(scripts.RENEW, len(self._books), *self._books, self.channel.box, *held)

    def restore_visible(self, start: int = 0, num: int | None = 10, interval: int = 10) -> None:
        """Requeue messages whose lease has expired, except our own, of which only the renewal was late."""
        del start, num, interval
        if not self.channel.box:
            return  # no worker: Flower
        touched = (*self._books, self._keys.dead)
        with self._client() as client:
            args = (self.visibility_timeout, *self._targets, *self._state.in_hand)
            for tag in client.eval(scripts.EXPIRED, len(touched), *touched, *args):
                logger.warning("The lease of message %s expired: requeued", bytes_to_str(tag))

    def give_back(self) -> int:
        """Requeue all messages in hand in their order, without counting a delivery, and return their number."""
        held = dict(self._state.in_hand)
        self._restore(dict(reversed(held.items())), uncounted=True)
        for tag, delivery in held.items():
            self.finished(tag, delivery)
        return len(held)

    def settle(self) -> int:
        """Reconcile with Redis on a new connection, or when it accepts writes again: acknowledge what ended meanwhile,
        and requeue messages that Redis assigns to this worker but are not in hand. A dead worker of the same name left
        those behind, or they were in transit when the connection broke. Returns the number of requeued messages."""
        with self._client() as client:
            if not client.exists(self._keys.wire):  # the server lost its data; a full one that did not refuses SET
                client.set(self._keys.wire, WIRE, nx=True)
            for tag, delivery in list(self._state.owed.items()):
                self._strike(client, tag, delivery)
                del self._state.owed[tag]
                self.finished(tag, delivery)
            holders = client.hgetall(self._keys.holders).items()
        ours = [bytes_to_str(tag) for tag, box in holders if bytes_to_str(box) == self.channel.box]
        left = [tag for tag in ours if tag not in self._state.in_hand]
        harmed, unharmed = ({tag: "" for tag in left if (tag in self._state.unharmed) is so} for so in (False, True))
        back = self._restore(harmed) + self._restore(unharmed, uncounted=True)
        self._state.unharmed.clear()
        self._state.unsettled = False
        self.renew()
        return back

    # -- scripts -----------------------------------------------------------------------------------------------------

    @property
    def _books(self) -> tuple[str, ...]:
        """The keys of messages in hand, in the order of the scripts."""
        keys = self._keys
        return keys.unacked, keys.unacked_index, keys.holders, keys.deliveries, keys.crashes

    @property
    def _targets(self) -> tuple[str, str, str]:
        """The names of the queues, the prefixes of their keys and of their wake marks."""
        return f" {' '.join(STAGES)} ", self._keys.queue(""), self._keys.wake("")

    def _strike(self, client: Any, tag: str, delivery: int) -> None:
        client.eval(scripts.STRIKE, len(self._books), *self._books, tag, self.channel.box, delivery)

    def _restore(self, held: Mapping[str, int | str], *, uncounted: bool = False, error: str = "") -> int:
        """Requeue messages that we hold, the last in line first, and return how many were still ours. `held`: tags with
        the numbers of their deliveries, empty for any."""
        touched, back = (*self._books, self._keys.dead), 0
        how = (self.channel.box, int(uncounted), error, *self._targets)
        with self._client() as client:
            for part in _parts(list(held)):
                pairs = [one for tag in part for one in (tag, held[tag])]
                back += int(client.eval(scripts.RESTORE, len(touched), *touched, *how, *pairs))
        return back

    @contextmanager
    def _client(self, client: Any = None) -> Iterator[Any]:
        """Yield a client of our channel, or of the channel that replaced it after the connection broke."""
        channel = self.channel if self.channel.connection is not None else self._state.channel
        assert channel is not None  # there is a message, so there was a channel
        with channel.conn_or_acquire(client) as live:
            yield live


def log_forgotten(bodies: Iterable[bytes]) -> None:
    """Log the letters that were dropped because only the newest `scripts.DEAD_MOST` are kept."""
    for row in (Letter(body).summary() for body in bodies):
        logger.error(
            "The dead letter %s of queue %s (job %s, %s) was dropped: only the newest %d are kept",
            *(row["letter"], row["queue"], row["job"] or "none", row["why"], scripts.DEAD_MOST),
        )


def _parts(tags: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (tags[at : at + _AT_ONCE] for at in range(0, len(tags), _AT_ONCE))
