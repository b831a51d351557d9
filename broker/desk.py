"""What this worker process has in hand, and where it stands: the one place that transport and batching share.

A process runs one worker, so there is one desk. It outlives connections: a message taken over a connection that broke
is still in hand, its lease is renewed over the next one, and no other message is taken before it is done.
"""

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

from broker.affinity import Line, Prefer, View


class Desk:
    """Messages in hand (delivery tags) and the standing of the box: queue, dwell, models, measured costs."""

    def __init__(self) -> None:
        self.in_hand: dict[str, None] = {}  # an ordered set: oldest first
        self.owed: set[str] = set()  # ended while Redis was away: to be struck out when it is back
        self.channel: Any = None  # the channel over which we take now
        self.stopping = False  # nothing more is taken
        self.resident: frozenset[str] = frozenset()
        self.cost_s: dict[str, float] = {}
        self._current: str | None = None
        self._since = 0.0
        self._served: dict[str, float] = {}
        self._opened = monotonic()

    def took(self, queue: str, tags: Iterable[str]) -> None:
        """Messages of a queue came into our hands."""
        now = monotonic()
        if queue != self._current:
            self._current, self._since = queue, now
        self._served[queue] = now
        self.in_hand.update(dict.fromkeys(tags))

    def keep(self, tags: Iterable[str]) -> None:
        """The connection broke: only these are still worked on."""
        self.in_hand = dict.fromkeys(tags)

    def done(self, tag: str) -> None:
        """A message left our hands: ended, put back or dead."""
        self.in_hand.pop(tag, None)

    def learned(self, resident: frozenset[str] | None, cost_s: Mapping[str, float]) -> None:
        """What the child told after a batch: the stages whose models are loaded (None: just the one that it ran)
        and the measured seconds of their loads."""
        self.cost_s.update(cost_s)
        if resident is not None:
            self.resident = resident
        elif self._current:
            self.resident = frozenset({self._current})

    def child_died(self) -> None:
        """The process that held the models is gone, and they with it."""
        self.resident = frozenset()

    def view(self, seen: Sequence[tuple[str, int, float]], batch: Mapping[str, int], prefer: Prefer) -> View:
        """For the decision: what was seen of each queue (name, depth, age of the oldest message in seconds)."""
        now = monotonic()
        lines = [
            Line(queue, depth, oldest, now - self._served.get(queue, self._opened)) for queue, depth, oldest in seen
        ]
        dwell = now - self._since if self._current else 0.0
        return View(lines, batch, self.resident, self._current, dwell, dict(self.cost_s), prefer)


#: The desk of this process.
DESK = Desk()
