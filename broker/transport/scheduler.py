"""Which queue next, and how many messages: a pure decision of what a box knows.

The policy, for one box with one model in memory and queues in the order of the chain:

    scribe       ████████▁▁▁▁▁▁▁▁  stay while there is work for the model that is loaded
    interpreter  ▁▁▁▁▁▁▁▁████████  leave when it is done, or when the dwell is over and somebody waits

(1) A queue that nobody has served for far too long comes first, whatever it costs: nobody starves.
(2) Work for a loaded model comes next: a move between loaded models is free.
(3) The dwell bound, a multiple of the measured cost of a switch, ends a stay when another queue's oldest message has
    waited longer than its own bound. What is left of the current queue is finished first where one batch will do.
(4) The next queue is the one downstream, so that jobs finish; for `throughput` the one upstream, so that each model
    is loaded once for a backlog of any size.

Among several boxes, which see one another by what they hold:

(5) A queue that others serve is left to them, unless it is deeper than their batches, or waits long although they are
    said to serve it: what is known of others may be stale. A box with work of its own goes to help only where far
    more waits for each server than here.
(6) A box whose messages come in a stream lingers on its queue before it moves: the next one is on its way, and another
    box may be free for the work elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

Prefer = Literal["throughput", "latency", "balanced"]

#: What a switch is taken to cost until any was measured, seconds.
DEFAULT_COST_S = 0.5


@dataclass(frozen=True)
class Bounds:
    """How long a stay may last, in costs of a switch."""

    dwell: float  # a stay is safe for so long, its load included
    wait: float  # another queue's oldest message must have waited so long to end a stay
    starve: float  # a queue that was not served for so long comes first


#: `throughput` is bounded by seconds (`_starve_s`): it leaves a queue with work only to save another from starving.
BOUNDS: Mapping[Prefer, Bounds] = {
    "throughput": Bounds(inf, inf, inf),
    "balanced": Bounds(5, 2, 30),
    "latency": Bounds(2, 0, 10),
}
#: The longest that anybody waits while another queue is served, seconds.
STARVED_S = 3600.0
#: The least wait that counts as starving, seconds: a batch alone may take as long.
STARVING_S = 10.0
#: A queue that others serve and whose oldest message has waited for so many costs of a switch, and so many seconds, is
#: anybody's who has nothing else to do.
LEFT_ALONE, LEFT_ALONE_S = 5, 1.0
#: How long a box whose messages come in a stream waits for the next one before it moves, seconds.
LINGER_S = 0.5
#: How long an idle box waits at most before it looks again at what it left to others, seconds.
LOOK_S = 0.5


@dataclass(frozen=True)
class Line:
    """A queue as it is seen."""

    queue: str
    depth: int
    oldest_s: float = 0.0  # how long its oldest message has waited
    unserved_s: float = inf  # since any box last took from it
    servers: int = 0  # other boxes that hold its model

    @property
    def waited_s(self) -> float:
        """How long somebody has waited here without any box taking anybody."""
        return min(self.oldest_s, self.unserved_s)


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
    idle_s: float = inf  # since the box had anything in hand
    gap_s: float = inf  # between its latest takes of the current queue; inf where there was but one

    def cost(self, queue: str) -> float:
        """Seconds that a move to the queue costs."""
        guess = max(self.cost_s.values(), default=DEFAULT_COST_S)  # of a model that was not loaded yet
        return 0.0 if queue in self.resident else self.cost_s.get(queue, guess)


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
    starving = [line for line in waiting if line.waited_s > _starve_s(view)]
    if starving:  # (1)
        return _take(view, max(starving, key=lambda line: line.waited_s))
    here = [line for line in waiting if line.queue in view.resident]
    current = next((line for line in here if line.queue == view.current), None)
    if here and not _may_leave(view, here, waiting):  # (2)
        return _take(view, current if current and view.prefer == "throughput" else here[-1])
    away = [line for line in waiting if line not in here]
    due = [line for line in away if (_due(view, line, here) if here else _free_for(view, line))]
    if not due:
        return _take(view, here[-1]) if here else None
    return _take(view, due[0] if view.prefer == "throughput" else due[-1])  # (4)


def listens(view: View) -> list[str]:
    """The queues for whose next message a box that was told None wakes at once: those whose model it has, and those
    that nobody serves. Not those that it has just left to others: it would only take the wake-up away from them."""
    return [line.queue for line in view.lines if not line.depth and (line.queue in view.resident or not line.servers)]


def patience_s(view: View) -> float:
    """Seconds after which a box that was told None looks again: when the first of the reasons will be over."""
    left = [LOOK_S]
    for line in view.lines:
        if line.depth:
            refused = 0.0 if _welcome(view, line) else _left_alone_s(view, line) - line.oldest_s
            lingers = LINGER_S - view.idle_s if _lingers(view, line) else 0.0
            left.append(max(refused, lingers, 0.01))
    return min(left)


def _take(view: View, line: Line) -> Move:
    return Move(line.queue, min(line.depth, max(1, view.batch.get(line.queue, 1))))


def _starve_s(view: View) -> float:
    """Seconds after which a queue that nobody served comes first."""
    worst = max((view.cost(other.queue) for other in view.lines), default=0.0)
    return min(max(BOUNDS[view.prefer].starve * worst, STARVING_S), STARVED_S)


def _may_leave(view: View, here: Sequence[Line], waiting: Sequence[Line]) -> bool:
    """(3): the stay was long enough, and somebody else has waited long enough."""
    away = [line for line in waiting if line not in here]
    if not any(_due(view, line, here) for line in away):
        return False
    bound = BOUNDS[view.prefer].dwell * max(view.cost(line.queue) for line in away)
    nearly_done = sum(line.depth for line in here) <= max(view.batch.get(line.queue, 1) for line in here)
    return view.dwell_s >= (2 * bound if nearly_done else bound)


def _due(view: View, line: Line, here: Sequence[Line]) -> bool:
    """Whether a queue is worth leaving work of our own, once the stay was long enough (3, 5)."""
    if line.waited_s < BOUNDS[view.prefer].wait * view.cost(line.queue):
        return False
    ours = max(own.depth / (own.servers + 1) for own in here)
    return line.servers == 0 or line.depth / (line.servers + 1) > 2 * ours + view.batch.get(line.queue, 1)


def _free_for(view: View, line: Line) -> bool:
    return _welcome(view, line) and not _lingers(view, line)


def _welcome(view: View, line: Line) -> bool:
    """(5)"""
    return (
        line.servers == 0
        or line.depth > line.servers * view.batch.get(line.queue, 1)
        or line.oldest_s >= _left_alone_s(view, line)
    )


def _left_alone_s(view: View, line: Line) -> float:
    """How old a message must be for a box that has nothing to do to step in. A box that has long had nothing to do
    loses nothing by it: no free box has taken the message, and it has waited for as long as a load takes."""
    bound = max(LEFT_ALONE * view.cost(line.queue), LEFT_ALONE_S)
    return view.cost(line.queue) if view.idle_s >= bound else bound


def _lingers(view: View, line: Line) -> bool:
    """(6): a lone box never does, nor one whose messages come one by one, nor for long."""
    bound = LEFT_ALONE if line.servers else min(BOUNDS[view.prefer].wait, LEFT_ALONE)
    return (
        max(view.gap_s, view.idle_s) < LINGER_S
        and view.current in view.resident
        and any(other.servers for other in view.lines)
        and line.oldest_s < bound * view.cost(line.queue)
    )
