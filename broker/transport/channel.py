"""Kombu's Redis transport with an atomic take of several messages of one queue, chosen by the affinity decision.

peek   one call tells what this box holds and sees depth and age of each queue and how many other boxes serve it;
       `affinity.decide` says which queue and how many.
take   one Lua call moves them from the queue into the books (`scripts.TAKE`): no message is ever outside both. Stock
       kombu pops and books in two steps, and a kill in between loses the message. A box that moves to a queue claims
       it in the same call, unless another was quicker since the peek.
wake   an idle worker blocks in BZPOPMIN on one small sorted set per queue, which the publisher touches together with
       the push. A lost mark costs at most half a second, never a message. Whoever is woken for work that it leaves to
       another box passes the mark on.
lease  the timer of the event loop renews the lease of every message in hand, whichever connection it came over.

It leans on kombu 5.7: `Channel._brpop_start/_brpop_read`, `_put`, `QoS`, the format of the books. Priorities, key
prefixes and queue expiry are not supported.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from math import inf
from queue import Empty
from time import monotonic, sleep, time
from typing import Any

from kombu.log import get_logger
from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from golem_chain.broker import keys
from golem_chain.broker.connection import Connection, SecureConnection
from golem_chain.broker.transport import scripts
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.broker.transport.qos import QoS, log_forgotten
from golem_chain.broker.transport.scheduler import LOOK_S, Move, Prefer, View, decide, listens, patience_s

logger = get_logger(__name__)


class Asked(Enum):
    """The requests of which one may be under way on the connection that the poller watches."""

    PEEK = "look at the queues"
    TAKE = "take messages"
    PASS = "pass a wake mark on"  # noqa: S105  (no password)
    WAIT = "wait for work"


class Channel(redis.Channel):
    """A channel that takes messages by affinity, in one step."""

    QoS = QoS
    connection_class = Connection
    connection_class_ssl = SecureConnection
    from_transport_options = (
        *redis.Channel.from_transport_options,
        *("batch", "prefer", "max_deliveries", "box", "gather_s", "consumer_state"),
    )
    priority_steps = (0,)
    batch: dict[str, int] = {}  # noqa: RUF012  (kombu sets it on the instance)
    prefer: Prefer = "balanced"
    max_deliveries = 3
    box = ""  # the node name; a producer has none
    gather_s = 0.005  # how long an idle worker waits for company for the first message of a burst

    _asked: Asked | None = None  # which reply the connection waits for
    _chosen = ""
    _woken: str | None = None  # the queue whose wake mark was taken last
    _listens: tuple[str, ...] = ()  # what an idle wait is for
    _patience_s = LOOK_S  # and how long
    _awaited = False  # the last thing was a wait
    _maybe_work = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unbooked: set[str] = set()
        self.consumer_state = ConsumerState()  # a producer's own; kombu sets a worker's, the same on all its channels
        super().__init__(*args, **kwargs)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """As kombu's; what is consumed without acks (replies to remote control) keeps the stock pop."""
        if no_ack:
            self._unbooked.add(queue)
        else:
            self.consumer_state.channel = self
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    # -- taking: called by kombu's poller ------------------------------------------------------------------------------

    def _brpop_start(self, timeout: float | None = None) -> None:
        """The poller calls this when there is credit and no request is under way."""
        self._asked = None
        if self._unbooked.intersection(self.active_queues):
            super()._brpop_start(timeout)
            return
        queues = self._in_chain_order()
        if not queues:
            return
        if self._maybe_work:
            touched = (*queues, *map(keys.claim, queues), keys.SERVED)
            held = [int(queue in self.consumer_state.holds) for queue in queues]
            self._send(Asked.PEEK, "EVAL", scripts.PEEK, len(touched), *touched, self.box, *held)
        else:
            marks = [keys.wake(queue) for queue in self._listens] or [keys.wake(f"@{self.box}")]
            self._send(Asked.WAIT, "BZPOPMIN", *marks, round(self._patience_s, 3))

    def _in_chain_order(self) -> list[str]:
        """Our queues in the order of the settings, whatever order they were consumed in."""
        return sorted(self.active_queues, key=list(self.batch).index if self.batch else None)

    def _send(self, asked: Asked, *command: Any) -> None:
        self._asked, self._brpop_sent_at = asked, monotonic()
        self._in_poll = self.client.connection
        self.client.connection.send_command(*command)

    def _brpop_read(self, **options: Any) -> bool:
        """The poller calls this when the reply is there."""
        if self._asked is None:
            return bool(super()._brpop_read(**options))
        asked, self._asked = self._asked, None
        try:
            reply = self.client.connection.read_response()
        except self.connection_errors:
            self._maybe_work = True
            self.client.connection.disconnect()
            raise
        except self.ResponseError as exc:  # such as a key of the wrong type, or a script refused: not ours to die of
            logger.error("Redis refused to %s: %s", asked.value, exc)
            self._maybe_work, self._listens, self._patience_s = False, (), 1.0
            raise Empty from None
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        if asked is Asked.PEEK:
            self._on_peek(reply)
            raise Empty
        if asked is Asked.PASS:
            raise Empty
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
        view = self.consumer_state.view(_seen(queues, reply), self.batch, self.prefer)
        woken, self._woken = self._woken, None
        move = decide(view)
        if move is None:
            self._maybe_work = self._awaited = False
            self._listens, self._patience_s = tuple(listens(view)), patience_s(view)
            if woken in [keys.wake(line.queue) for line in view.lines if line.depth]:
                self._send(Asked.PASS, "EVAL", scripts.WAKE, 1, woken)
            return
        awaited, self._awaited = self._awaited, False
        if awaited and move.queue == queues[0] and move.take_n < self.batch.get(move.queue, 1):
            age = next(line.oldest_s for line in view.lines if line.queue == move.queue)
            if age < self.gather_s:  # a burst may be coming in, and its first message need not go alone
                sleep(self.gather_s - age)
                move = type(move)(move.queue, self.batch.get(move.queue, 1))
        self._take(move, view)

    def _take(self, move: Move, view: View) -> None:
        self._chosen = queue = move.queue
        seen = next(line.servers for line in view.lines if line.queue == queue)
        others = -1 if queue in view.resident else seen
        touched = [queue, keys.wake(queue), self.unacked_key, self.unacked_index_key]
        touched += [keys.HOLDERS, keys.DELIVERIES, keys.CRASHES, keys.DEAD, keys.DYING, keys.SERVED]
        touched += [keys.claim(queue), *(keys.claim(one.queue) for one in view.lines if one.queue != queue)]
        bounds = (move.take_n, self.max_deliveries, self.box, others)
        self._send(Asked.TAKE, "EVAL", scripts.TAKE, len(touched), *touched, *bounds)

    def _on_take(self, reply: list[Any]) -> None:
        self._maybe_work = True
        raws, tags, buried, forgotten = reply
        if buried:
            logger.error("%d message(s) of %s became dead letters", buried, self._chosen)
            log_forgotten(forgotten)
        if raws:
            self.consumer_state.takes(self._chosen)
        for raw, tag in zip(raws, map(bytes_to_str, tags), strict=True):
            try:
                message = loads(bytes_to_str(raw))
                _due_by_our_clock(message["headers"])
                self.consumer_state.took([tag])
                if self._closing or self._chosen not in self.connection._callbacks:
                    self.qos.restore_by_tag(tag, uncounted=True)
                else:
                    self.connection._deliver({**message, "booked": True}, self._chosen)
            except self.connection_errors:
                raise
            except Exception as exc:  # noqa: BLE001  (whatever a stranger wrote into the queue)
                self.qos.bury(tag, raw.decode(errors="replace"), f"malformed: {exc!r}", self._chosen)

    # -- publishing ----------------------------------------------------------------------------------------------------

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        if kwargs.get("_publish_batch") is not None or queue in self._expires:
            super()._put(queue, message, **kwargs)
            return
        headers = message["headers"]
        if headers.get("eta"):
            headers["delay_s"] = max(0.0, datetime.fromisoformat(headers["eta"]).timestamp() - time())
        headers["sent_at"] = scripts.SENT_AT_MARK
        with self.conn_or_acquire() as client:
            mark = dumps(scripts.SENT_AT_MARK)  # with its quotes: a number takes the place of the whole string
            client.eval(scripts.PUSH, 0, queue, keys.wake(queue), dumps(message), mark)

    def close(self) -> None:
        """As kombu's, without waiting for the end of an idle wait."""
        if self._in_poll and self._asked is Asked.WAIT:
            self._in_poll = None
            self.client.connection.disconnect()
        super().close()


def _due_by_our_clock(headers: dict[str, Any]) -> None:
    """Count the delay of a retried message from now on: its sender's clock may be hours off, ahead or behind."""
    if headers.get("eta") and isinstance(delay_s := headers.get("delay_s"), int | float):
        headers["eta"] = datetime.fromtimestamp(time() + delay_s, UTC).isoformat()


def _seen(queues: Sequence[str], reply: Sequence[Any]) -> list[tuple[str, int, float, float, int]]:
    """What `scripts.PEEK` saw, as the desk wants it."""
    clock, told, n = float(reply[0]), reply[1:], 2 * len(queues)

    def since(at: Any, never: float) -> float:
        return max(0.0, clock - float(at)) if at else never

    columns = zip(queues, told[:n:2], told[1:n:2], told[n::2], told[n + 1 :: 2], strict=True)
    return [
        (queue, int(depth), since(sent, 0.0), since(served, inf), int(servers))
        for queue, depth, sent, served, servers in columns
    ]


class Transport(redis.Transport):
    """Kombu finds it by its dotted name, `golem_chain.broker.transport.channel:Transport`."""

    Channel = Channel

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """As kombu's, with the timer that renews our leases; celery cancels it when the connection breaks."""
        super().register_with_event_loop(connection, loop)

        def renew() -> None:
            for channel in self.cycle._channels:
                try:
                    channel.qos.renew()
                except channel.connection_errors as exc:
                    logger.warning("The leases could not be renewed: %s", exc)
                return  # the books are the same for all channels

        loop.call_repeatedly(connection.client.transport_options.get("lease_renewal", 10), renew)
