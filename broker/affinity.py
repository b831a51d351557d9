"""Which queue next, and how many messages: a pure decision of what a box knows.

The policy, for one box with one model in memory and queues in the order of the chain:

    scribe       ████████▁▁▁▁▁▁▁▁  stay while there is work for the model that is loaded
    interpreter  ▁▁▁▁▁▁▁▁████████  leave when it is done, or when the dwell is over and somebody waits

(1) A queue that has waited far too long comes first, whatever it costs: nobody starves.
(2) Work for a loaded model comes next: a move between loaded models is free.
(3) The dwell bound, a multiple of the measured cost of a switch, ends a stay when another queue's oldest message has
    waited longer than its own bound. What is left of the current queue is finished first where one batch will do.
(4) The next queue is the one downstream, so that jobs finish; for `throughput` the one upstream, so that each model
    is loaded once for a backlog of any size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

Prefer = Literal["throughput", "latency", "balanced"]

#: What a switch is taken to cost until one was measured, seconds.
DEFAULT_COST_S = 0.5


@dataclass(frozen=True)
class Bounds:
    """How long a stay may last, in costs of a switch."""

    dwell: float  # a stay is safe for so long, its load included
    wait: float  # another queue's oldest message must have waited so long to end a stay
    starve: float  # a queue that was not served for so long comes first


#: `throughput` is bounded by seconds in `_bound`: it leaves a queue that has work only to save another from starving.
BOUNDS: Mapping[Prefer, Bounds] = {
    "throughput": Bounds(inf, inf, inf),
    "balanced": Bounds(5, 2, 30),
    "latency": Bounds(2, 0, 10),
}
#: The longest that anybody waits while another queue is served, seconds.
STARVED_S = 3600.0


@dataclass(frozen=True)
class Line:
    """A queue as it is seen."""

    queue: str
    depth: int
    oldest_s: float = 0.0  # how long its oldest message has waited
    unserved_s: float = inf  # since this box last took from it

    @property
    def waited_s(self) -> float:
        """How long somebody has waited here without this box taking anybody."""
        return min(self.oldest_s, self.unserved_s)


@dataclass(frozen=True)
class Other:
    """Another box: the queues whose models it holds."""

    box: str
    holds: frozenset[str]


@dataclass(frozen=True)
class View:
    """All that a box knows when it is free to take messages."""

    lines: Sequence[Line]  # in the order of the chain
    batch: Mapping[str, int]  # most messages at once, by queue
    resident: frozenset[str] = frozenset()
    current: str | None = None  # the queue last served
    dwell_s: float = 0.0  # since the box moved to it
    cost_s: Mapping[str, float] = field(default_factory=dict)  # measured load of each model
    prefer: Prefer = "balanced"
    others: Sequence[Other] = ()

    def cost(self, queue: str) -> float:
        """Seconds that a move to the queue costs."""
        return 0.0 if queue in self.resident else self.cost_s.get(queue, DEFAULT_COST_S)


@dataclass(frozen=True)
class Move:
    """Take up to `take_n` messages of `queue`."""

    queue: str
    take_n: int


def decide(view: View) -> Move | None:
    """The next move, or None where nothing waits (or other boxes are to be left to it)."""
    waiting = [line for line in view.lines if line.depth > 0]
    if not waiting:
        return None
    starving = [line for line in waiting if line.waited_s > _starve_s(view, line)]
    if starving:  # (1)
        return _take(view, max(starving, key=lambda line: line.waited_s))
    here = [line for line in waiting if line.queue in view.resident]
    current = next((line for line in here if line.queue == view.current), None)
    if here and not _may_leave(view, here, waiting):  # (2)
        return _take(view, current if current and view.prefer == "throughput" else here[-1])
    away = [line for line in waiting if line not in here]
    due = [line for line in away if _due(view, line)] if here else [line for line in away if _welcome(view, line)]
    if not due:
        return _take(view, here[-1]) if here else None
    return _take(view, due[0] if view.prefer == "throughput" else due[-1])  # (4)


def _take(view: View, line: Line) -> Move:
    return Move(line.queue, min(line.depth, max(1, view.batch.get(line.queue, 1))))


def _starve_s(view: View, line: Line) -> float:
    """Seconds after which a queue that nobody served comes first."""
    worst = max((view.cost(other.queue) for other in view.lines), default=0.0)
    return min(BOUNDS[view.prefer].starve * max(worst, view.cost(line.queue), 0.1), STARVED_S)


def _may_leave(view: View, here: Sequence[Line], waiting: Sequence[Line]) -> bool:
    """(3): the stay was long enough, and somebody else has waited long enough."""
    away = [line for line in waiting if line not in here]
    if not any(_due(view, line) for line in away):
        return False
    bound = BOUNDS[view.prefer].dwell * max(view.cost(line.queue) for line in away)
    nearly_done = sum(line.depth for line in here) <= max(view.batch.get(line.queue, 1) for line in here)
    return view.dwell_s >= (2 * bound if nearly_done else bound)


def _due(view: View, line: Line) -> bool:
    return line.waited_s >= BOUNDS[view.prefer].wait * view.cost(line.queue) and _welcome(view, line)


def _welcome(view: View, line: Line) -> bool:
    """Soft shares between boxes: a queue that others serve is left to them unless it is deeper than their batches."""
    servers = sum(line.queue in other.holds for other in view.others)
    return (
        servers == 0
        or line.depth > servers * view.batch.get(line.queue, 1)
        or line.oldest_s > 5 * view.cost(line.queue)
    )
