"""What this worker process has in hand, and where it stands: the one place that transport and batching share.

A worker's parent makes one and hands it to every channel, as the transport option `consumer_state`. It outlives
connections: a message taken over a connection that broke is still in hand, its lease is renewed over the next one, and
no other message is taken before it is done.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from golem_chain.broker.transport.scheduler import Line, Prefer, View

if TYPE_CHECKING:
    from golem_chain.broker.transport.channel import Channel


class ConsumerState:
    """Messages in hand (delivery tags) and the standing of the box: queue, dwell, models, measured costs. `clock` gives
    seconds that only grow; a simulation brings its own."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.in_hand: dict[str, None] = {}  # an ordered set: oldest first
        self.owed: set[str] = set()  # ended while Redis was away: to be struck out when it is back
        self.unsettled = False  # something could not be put back: the books name us, and it is not in hand
        self.channel: Channel | None = None  # the channel over which we take now
        self.stopping = False  # nothing more is taken
        self.resident: frozenset[str] = frozenset()
        self.cost_s: dict[str, float] = {}
        self.current: str | None = None  # the queue last taken from
        self._since = self._last_take = self._opened = self._emptied = self._clock()
        self._gap_s = inf  # between the takes of this stay, the latest weighing most

    def takes(self, queue: str) -> None:
        """A take of messages of a queue begins to come into our hands."""
        now = self._clock()
        if queue != self.current:
            self.current, self._since, self._gap_s = queue, now, inf
        else:
            gap = now - self._last_take
            self._gap_s = gap if self._gap_s == inf else 0.7 * self._gap_s + 0.3 * gap
        self._last_take = now

    def took(self, tags: Iterable[str]) -> None:
        """Messages came into our hands."""
        self.in_hand.update(dict.fromkeys(tags))

    def keep(self, tags: Iterable[str]) -> None:
        """The connection broke: only these are still worked on."""
        self.in_hand = dict.fromkeys(tags)
        self._emptied = self._clock()

    def done(self, tag: str) -> None:
        """A message left our hands: ended, put back or dead."""
        self.in_hand.pop(tag, None)
        self._emptied = self._clock()

    def learned(self, resident: frozenset[str] | None, cost_s: Mapping[str, float]) -> None:
        """What the child told after a batch: the stages whose models are loaded (None: just the one that it ran)
        and the measured seconds of their loads."""
        self.cost_s.update(cost_s)
        if resident is not None:
            self.resident = resident
        elif self.current:
            self.resident = frozenset({self.current})

    def child_died(self) -> None:
        """The process that held the models is gone, and they with it."""
        self.resident = frozenset()

    @property
    def holds(self) -> frozenset[str]:
        """The queues that this box serves, as others are told: while it moves, the one that it moves to."""
        if self.stopping:
            return frozenset()
        moves = self.in_hand and self.current and self.current not in self.resident
        return frozenset({self.current}) if moves and self.current else self.resident

    def __json__(self) -> dict[str, Any]:
        """As kombu writes it: Celery's `inspect stats`, which Flower shows, tells the options of the transport."""
        return self.tells()

    def tells(self) -> dict[str, Any]:
        """Where the box stands, for all to read: the queue last taken from, and since when (Unix seconds)."""
        since = round(time() - (self._clock() - self._since), 3) if self.current else None
        return {"queue": self.current, "since": since}

    def view(
        self, seen: Sequence[tuple[str, int, float, float, int]], batch: Mapping[str, int], prefer: Prefer
    ) -> View:
        """For the decision: what was seen of each queue (name, depth, age of the oldest message in seconds, seconds
        since any box took from it, other boxes that serve it)."""
        now = self._clock()
        opened = now - self._opened  # what was before us is no fault of the boxes that are there now
        lines = [
            Line(queue, depth, oldest, min(unserved, opened), servers)
            for queue, depth, oldest, unserved, servers in seen
        ]
        dwell = now - self._since if self.current else 0.0
        idle = 0.0 if self.in_hand else now - self._emptied
        return View(
            lines, batch, self.resident, self.current, dwell, dict(self.cost_s), prefer, idle_s=idle, gap_s=self._gap_s
        )
