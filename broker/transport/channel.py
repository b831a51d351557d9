"""Kombu's Redis transport with an atomic take: several messages of one queue, which the scheduler chooses.

peek   one script renews this worker's claims and reads each queue's number of other servers, and depth and age of
       its two lanes; `scheduler.decide` chooses the queue and the number of messages.
take   one script (`scripts.TAKE`) checks them and moves them from the queue into the unacknowledged hash, so that no
       message is ever outside both. Stock kombu does this in two steps, and a kill in between loses the message. A
       worker that moves to a queue claims it in the same script, unless another has claimed it since the peek.
wake   an idle worker blocks in BZPOPMIN on one wake mark per queue, which every push sets in the same script. A
       lost mark costs two seconds at most, never a message. A worker that leaves the work to another box sets the
       mark again.
lanes  each queue is two lists, interactive and bulk, with one wake mark. The take empties the interactive one first.
lease  a timer in the event loop renews the leases of all messages in hand, whichever connection they came over.

Messages of stages are published by `broker.jobs`, never through kombu, which carries remote control and events.

Private parts of kombu 5.7 in use: `Channel._brpop_start/_brpop_read`, `QoS`, `Connection._deliver`, `_q_for_pri`,
`keyprefix_*`, `_connparams`, `_get_pool`, `_deliver_fanout_message`. The transport option `prefix` takes the place of
kombu's `global_keyprefix`. Priorities and expiry of the stages' queues are not supported.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from functools import cached_property
from math import inf
from queue import Empty
from time import monotonic, sleep, time
from typing import Any

from kombu.log import get_logger
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import ConnectionError

from golem_chain.broker.address import Primary
from golem_chain.broker.connection import (
    Connection,
    SecureConnection,
    SecureSentinelConnection,
    SentinelConnection,
    sentinel_pool,
)
from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import task_name
from golem_chain.broker.transport import scripts
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.broker.transport.message import Taken, celery_message
from golem_chain.broker.transport.qos import QoS, log_forgotten
from golem_chain.broker.transport.scheduler import LOOK_S, decide, gathers_s, grows, listens, patience_s
from golem_chain.broker.transport.view import Line, Move, Prefer, View, Waiting

logger = get_logger(__name__)


class Asked(Enum):
    """Requests on the connection that the poller watches; at most one is outstanding."""

    PEEK = "look at the queues"
    TAKE = "take messages"
    PASS = "pass a wake mark on"  # noqa: S105  (no password)
    WAIT = "wait for work"
    POP = "pop a reply"


class Channel(redis.Channel):
    """A channel that takes batches of messages atomically, by affinity."""

    QoS = QoS
    connection_class: type = Connection
    connection_class_ssl: type = SecureConnection
    from_transport_options = (
        *(option for option in redis.Channel.from_transport_options if option != "global_keyprefix"),
        *("prefix", "batch", "prefer", "bulk_wait_s", "max_deliveries", "box", "gather_s", "consumer_state"),
    )
    priority_steps = (0,)
    prefix = "golem"
    batch: dict[str, int] = {}  # noqa: RUF012  (kombu sets it on the instance)
    prefer: Prefer = "balanced"
    bulk_wait_s = inf  # see `View`
    max_deliveries = 3
    box = ""  # node name; empty for a producer
    gather_s = 0.005  # how long an idle worker waits for the next message of a burst, seconds

    _outstanding: Asked | None = None  # the request whose reply the connection waits for
    _chosen = Move("", 0)
    _woken: str | None = None  # the wake mark popped last
    _wait_queues: tuple[str, ...] = ()  # whose wake marks an idle wait blocks on
    _wait_s = LOOK_S
    _awaited = False  # the last request was a wait
    _gathered = 0  # messages of a burst that were there at the last look, while more of it is awaited
    _maybe_work = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._no_ack_queues: set[str] = set()
        self.consumer_state = ConsumerState()  # a client's own; in a worker kombu sets one for all channels
        super().__init__(*args, **kwargs)

    # -- names: every key and channel of kombu has the prefix too; the names of queues and exchanges have none

    @cached_property
    def keys(self) -> Keys:
        """The keys of this channel's system."""
        return Keys(self.prefix)

    @property
    def keyprefix_queue(self) -> str:
        """Kombu's key of the queues of an exchange."""
        return self.keys.bindings

    @property
    def keyprefix_binding_permanent(self) -> str:
        """Kombu's key of those that do not expire."""
        return self.keys.bindings_permanent

    @property
    def keyprefix_binding_deadlines(self) -> str:
        """Kombu's key of their deadlines."""
        return self.keys.bindings_deadlines

    def _q_for_pri(self, queue: str, pri: int) -> str:
        """Return the key of a queue: kombu reads, fills, counts and deletes it under this name."""
        del pri
        return self.keys.queue(queue)

    def _deliver_fanout_message(self, message: dict[str, Any], exchange: str) -> bool:
        """As kombu's, which takes a channel outside its own `/{db}.` for the name of the exchange."""
        return bool(super()._deliver_fanout_message(message, exchange.removeprefix(self.keyprefix_fanout)))

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """As kombu's; queues consumed without acknowledgements (remote control replies) are popped."""
        if no_ack:
            self._no_ack_queues.add(queue)
        else:
            self.consumer_state.channel = self
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    # -- taking: called by kombu's poller ------------------------------------------------------------------------------

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Send the next request. Kombu's poller calls this if `can_consume` holds and no request is outstanding."""
        self._outstanding = None
        if self._no_ack_queues.intersection(self.active_queues):
            replies = map(self.keys.queue, self.active_queues)
            self._send(Asked.POP, "BRPOP", *replies, self.brpop_timeout if timeout is None else timeout)
            return
        queues = self._in_chain_order()
        if not queues:
            return
        if self._maybe_work:
            keys = self.keys
            lanes = [keys.lane(queue, lane) for lane in ("bulk", "interactive") for queue in queues]
            touched = (*lanes, *map(keys.claim, queues), keys.served, keys.crashes)
            held = [int(queue in self.consumer_state.holds) for queue in queues]
            self._send(Asked.PEEK, "EVAL", scripts.PEEK, len(touched), *touched, self.box, *held)
        else:
            marks = [self.keys.wake(queue) for queue in self._wait_queues] or [self.keys.wake(f"@{self.box}")]
            self._send(Asked.WAIT, "BZPOPMIN", *marks, round(self._wait_s, 3))

    def _in_chain_order(self) -> list[str]:
        """The consumed queues in chain order; `active_queues` has them in the order of `basic_consume`."""
        return sorted(self.active_queues, key=list(self.batch).index if self.batch else None)

    def _send(self, asked: Asked, *command: Any) -> None:
        self._outstanding, self._brpop_sent_at = asked, monotonic()
        self._in_poll = self.client.connection
        self.client.connection.send_command(*command)

    def _brpop_read(self, **options: Any) -> bool:
        """Handle the reply. Kombu's poller calls this when the connection is readable."""
        if self._outstanding is None:
            return bool(super()._brpop_read(**options))
        asked, self._outstanding = self._outstanding, None
        try:
            reply = self.client.connection.read_response()
        except self.connection_errors:
            self._maybe_work = True
            self.client.connection.disconnect()
            raise
        except self.ResponseError as exc:  # a key of the wrong type, a rejected script: the worker must survive it
            logger.error("Redis rejected the request to %s: %s", asked.value, exc)
            self._maybe_work, self._wait_queues, self._wait_s = False, (), 1.0
            raise Empty from None
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        if asked is Asked.PEEK:
            self._on_peek(reply)
            raise Empty
        if asked is Asked.PASS:
            raise Empty
        if asked is Asked.POP:
            if not reply:
                raise Empty
            key, raw = reply
            self.connection._deliver(loads(bytes_to_str(raw)), bytes_to_str(key).removeprefix(self.keys.queue("")))
            return True
        if asked is Asked.WAIT:
            self._awaited = self._maybe_work = True  # also after a timeout: a wake mark may have been lost
            self._woken = bytes_to_str(reply[0]) if reply else None
            raise Empty
        self._on_take(reply)
        return True

    def _on_peek(self, reply: list[Any]) -> None:
        if self._closing:
            return
        queues = self._in_chain_order()
        view = self.consumer_state.view(_seen(queues, reply), self.batch, self.prefer, self.bulk_wait_s)
        view = replace(view, grows=grows(view.lines[0], self._gathered))
        woken, self._woken = self._woken, None
        move = decide(view)
        if move is None:
            self._maybe_work = self._awaited = False
            self._wait_queues, self._wait_s = tuple(listens(view)), patience_s(view)
            if woken in [self.keys.wake(line.queue) for line in view.lines if line.total]:
                self._send(Asked.PASS, "EVAL", scripts.WAKE, 1, woken)
            return
        awaited, self._awaited = self._awaited, False
        before, self._gathered = self._gathered, 0
        if (awaited or before) and move.queue == queues[0]:  # this may be the first message of a burst
            line = next(line for line in view.lines if line.queue == move.queue)
            if pause_s := gathers_s(view, line, move, 0 if awaited else before, self.gather_s):
                self._gathered = line.depth
                sleep(pause_s)
                return  # and look again
        self._take(move, view)

    def _take(self, move: Move, view: View) -> None:
        self._chosen, queue = move, move.queue
        seen = next(line.servers for line in view.lines if line.queue == queue)
        others = -1 if queue in view.resident else seen
        keys = self.keys
        touched = [keys.lane(queue, "bulk"), keys.lane(queue, "interactive"), keys.wake(queue)]
        touched += [keys.unacked, keys.unacked_index, keys.holders, keys.deliveries, keys.crashes]
        touched += [keys.dead, keys.dying, keys.served, keys.claim(queue)]
        touched += [keys.claim(one.queue) for one in view.lines if one.queue != queue]
        bounds = (move.take_n, move.bulk_n, self.max_deliveries, self.box, others, queue, task_name(queue))
        self._send(Asked.TAKE, "EVAL", scripts.TAKE, len(touched), *touched, *bounds)

    def _on_take(self, reply: list[Any]) -> None:
        self._maybe_work = True
        rows, buried, forgotten = reply
        queue = self._chosen.queue
        if buried:
            logger.error("%d message(s) of queue %s became dead letters", buried, queue)
            log_forgotten(forgotten)
        messages = [Taken.of(row) for row in rows]
        if messages:
            self.consumer_state.takes(self._chosen, alone=messages[0].takes_all, count=len(messages))
        for one in messages:
            self.consumer_state.took(one.tag, one.delivery)
        for one in messages:
            if self._closing or queue not in self.connection._callbacks:
                self.qos.requeue(one.tag, one.delivery, uncounted=True)
                continue
            # by our clock: the delay of a retry counts from now, and the sender's clock may be hours ahead or behind
            due = datetime.fromtimestamp(time() + one.delay_s, UTC).isoformat() if one.delay_s else None
            try:
                told = celery_message(queue, one, self.box, due, pilot=self._chosen.pilot)
                self.connection._deliver(told, queue)
            except self.connection_errors:
                raise
            except Exception as exc:  # Celery could not handle it: one message must not stop the worker
                logger.exception("Message %s could not be delivered", one.tag)
                self.qos.bury(one.tag, f"cannot be delivered: {exc!r}")

    def basic_publish(self, message: Any, exchange: str, routing_key: str, **kwargs: Any) -> Any:
        """As kombu's, for events, but on a channel that was closed, because another publish failed, raises the error on
        which kombu makes a new one."""
        if self.connection is None:
            raise ConnectionError("The channel is closed.")
        return super().basic_publish(message, exchange, routing_key, **kwargs)

    def close(self) -> None:
        """As kombu's, but interrupts an idle wait."""
        if self._in_poll and self._outstanding is Asked.WAIT:
            self._in_poll = None
            self.client.connection.disconnect()
        super().close()


def _seen(queues: Sequence[str], reply: Sequence[Any]) -> list[Line]:
    """Convert the reply of `scripts.PEEK`."""
    clock, values = float(reply[0]), reply[1:]

    def since(at: Any, never: float) -> float:
        return max(0.0, clock - float(at)) if at else never

    def lane(depth: Any, sent: Any, served: Any, put_off: Any) -> tuple[int, float, float, bool]:
        return int(depth), since(sent, 0.0), since(served, inf), bool(put_off)

    lines = []
    for queue, *row in zip(queues, *(values[column::9] for column in range(9)), strict=True):
        depth, oldest_s, unserved_s, put_off = lane(*row[1:5])
        lines.append(Line(queue, depth, oldest_s, unserved_s, int(row[0]), put_off, Waiting(*lane(*row[5:]))))
    return lines


class Transport(redis.Transport):
    """The transport; kombu imports it by its dotted name, `golem_chain.broker.transport.channel:Transport`."""

    Channel = Channel

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """As kombu's, plus the lease renewal timer, which Celery cancels when the connection breaks."""
        super().register_with_event_loop(connection, loop)

        def renew() -> None:
            for channel in self.cycle._channels:
                try:
                    channel.qos.renew()
                except channel.connection_errors as exc:
                    logger.warning("The leases could not be renewed: %s", exc)
                return  # one channel renews for all

        loop.call_repeatedly(connection.client.transport_options.get("lease_renewal", 10), renew)


class SentinelChannel(Channel):
    """A channel to the primary that sentinels name. Each new connection asks them, so it follows a failover."""

    connection_class = SentinelConnection
    connection_class_ssl = SecureSentinelConnection
    from_transport_options = (*Channel.from_transport_options, "primary")
    primary: Primary
    keyprefix_fanout: str

    def _get_pool(self, asynchronous: bool = False) -> Any:
        params = self._connparams(asynchronous=asynchronous)
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=params["db"])
        return sentinel_pool(self.primary, **params)


class SentinelTransport(Transport):
    """The transport for `sentinel://` URLs."""

    Channel = SentinelChannel


def stand_in(name: str) -> None:
    """Let the transport with this dotted name take the place of kombu's for all URLs of Redis, in this process."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss", "redis+socket", "sentinel"), name))
