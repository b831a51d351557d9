"""A worker's messages in hand and its current queue, models and costs, shared by transport and batching.

The parent creates one ConsumerState and passes it to every channel as the transport option `consumer_state`. It
outlives connections: a message taken over a broken connection is still in hand, its lease is renewed over the next
connection, and no other message is taken until it is done.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from time import monotonic, time
from typing import Any, Protocol

from golem_chain.broker.transport.view import Line, Move, Prefer, View
from golem_chain.shared.json_object import JsonObject

#: A first take of at most so many messages is nearly as good as a pilot: one of them goes on as such.
PILOTS = 4


class TakingChannel(Protocol):
    """What others need of the channel over which messages are taken."""

    def conn_or_acquire(self, client: Any = None) -> Any:
        """A context manager for a client of Redis."""
        ...


class ConsumerState:
    """Delivery tags in hand, and the worker's queue, dwell, models and measured costs. `clock` returns monotonic
    seconds; a simulation passes its own."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.in_hand: dict[str, int] = {}  # tag -> number of the delivery, oldest first
        self.owed: dict[str, int] = {}  # acknowledged while Redis was down: to be deleted when it is back
        self.unsettled = False  # a requeue failed: Redis names us as holder of a message that is not in hand
        self.unharmed: set[str] = set()  # to be requeued without counting a delivery when Redis is back
        self.channel: TakingChannel | None = None  # the channel that takes messages now
        self.stopping = False  # take nothing more
        self.resident: frozenset[str] = frozenset()
        self.cost_s: dict[str, float] = {}
        self.current: str | None = None  # the queue last taken from
        self._since = self._last_take = self._opened = self._emptied = self._clock()
        self._gap_s = inf  # moving average of the time between takes of this stay
        self._alone_n = 0  # messages that ran alone in the last takes of this stay
        self._pressed_at: float | None = None  # since when interactive work has decided every take
        self._repaid = False  # the last take was a turn of bulk in between
        self._fresh = True  # nothing was taken since all queues were empty
        self._pilot = False  # the last take was a pilot, or as small

    def takes(self, move: Move, *, alone: bool = False, count: int | None = None) -> None:
        """Note a take of `count` messages, None: as many as the move says. `alone`: of one that must run alone."""
        now = self._clock()
        small = (move.take_n if count is None else count) <= PILOTS
        self._pilot = move.pilot or (self._fresh and small and move.lane == "bulk")
        self._fresh = False
        if move.queue != self.current:
            self.current, self._since, self._gap_s, self._alone_n = move.queue, now, inf, 0
        else:
            gap = now - self._last_take
            self._gap_s = gap if self._gap_s == inf else 0.7 * self._gap_s + 0.3 * gap
        self._last_take = now
        self._alone_n = self._alone_n + 1 if alone else 0
        self._repaid = move.bulk_n > 0
        if move.lane == "interactive":
            self._pressed_at = now if self._pressed_at is None else self._pressed_at
        elif not self._repaid:
            self._pressed_at = None

    def took(self, tag: str, delivery: int) -> None:
        """Add a message to those in hand."""
        self.in_hand[tag] = delivery

    def keep(self, tags: Iterable[str]) -> None:
        """Keep only these messages in hand: the connection broke, and the child still works on them. The others, such
        as a retry that waits, had not begun: they go back unharmed."""
        kept = {tag: self.in_hand[tag] for tag in tags if tag in self.in_hand}
        self.unharmed |= self.in_hand.keys() - kept.keys()
        self.in_hand = kept
        self._emptied = self._clock()

    def done(self, tag: str) -> None:
        """Remove a message from those in hand: it was acknowledged, requeued or became a dead letter."""
        self.in_hand.pop(tag, None)
        self._emptied = self._clock()

    def learned(self, resident: frozenset[str] | None, cost_s: Mapping[str, float]) -> None:
        """Store the child's report after a batch: stages whose models are loaded (None: only the one that ran), and
        measured load times in seconds."""
        self.cost_s.update(cost_s)
        if resident is not None:
            self.resident = resident
        elif self.current:
            self.resident = frozenset({self.current})

    def child_died(self) -> None:
        """Forget the loaded models: the process that held them is gone."""
        self.resident = frozenset()

    @property
    def holds(self) -> frozenset[str]:
        """The queues that this worker claims; while it moves, only the one that it moves to."""
        if self.stopping:
            return frozenset()
        moves = self.in_hand and self.current and self.current not in self.resident
        return frozenset({self.current}) if moves and self.current else self.resident

    def __json__(self) -> JsonObject:
        """The JSON form for Celery's `inspect stats`, which includes the transport options and is shown in Flower."""
        return self.tells()

    def tells(self) -> JsonObject:
        """Return the public state: the queue last taken from, and since when (Unix seconds)."""
        since = round(time() - (self._clock() - self._since), 3) if self.current else None
        return {"queue": self.current, "since": since}

    def view(self, seen: Sequence[Line], batch: Mapping[str, int], prefer: Prefer, bulk_wait_s: float = inf) -> View:
        """Return the scheduler's input. `seen` are the queues as they are in Redis."""
        now = self._clock()
        opened = now - self._opened  # time before our start does not count as unserved
        lines = [_since_start(line, opened) for line in seen]
        dwell = now - self._since if self.current else 0.0
        idle = 0.0 if self.in_hand else now - self._emptied
        self._fresh |= not self.in_hand and not any(line.total for line in seen)
        pressed = now - self._pressed_at if self._pressed_at is not None else 0.0
        return View(
            lines,
            batch,
            self.resident,
            self.current,
            dwell,
            dict(self.cost_s),
            prefer,
            idle_s=idle,
            gap_s=self._gap_s,
            alone_n=self._alone_n,
            bulk_wait_s=bulk_wait_s,
            pressed_s=pressed,
            repaid=self._repaid,
            fresh=self._fresh,
            pilot=self._pilot,
        )


def _since_start(line: Line, opened_s: float) -> Line:
    interactive = line.interactive
    if line.unserved_s > opened_s:
        line = replace(line, unserved_s=opened_s)
    if interactive.unserved_s > opened_s:
        line = replace(line, interactive=replace(interactive, unserved_s=opened_s))
    return line
