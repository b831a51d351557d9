"""The scheduler: a pure function that chooses the next queue and the number of messages to take.

Every queue has two lanes. An interactive job waits for at most the batch that is running; bulk work fills its batches
up, and has the box to itself the rest of the time. For one box with one model in memory, which works off a bulk backlog
(b) when two interactive messages (I) come for another queue:

                        I I
    scribe       bbbb bbbb┊              bbbb bbbb   the batch that runs is the last one of the stay
    interpreter           ┊ IIbb                     at once, filled up with bulk; what follows from it likewise
    oracle                ┊      IIbb                no interactive work is left: back by the rules for bulk

(a) Interactive work comes first: that of loaded models, and elsewhere that which has waited as long as the switch to it
    costs (ski rental: at most twice what the best choice in hindsight costs). If there is none for a loaded model, a
    stay ends at once for one. Of several queues the one furthest downstream comes first, so that jobs finish, unless
    another interactive lane has gone without a take for ten switches.
(b) Interactive messages of a queue that other boxes claim are left to them until they have waited as long as a switch
    costs. Nothing else holds them up: no dwell, no lingering, no message that was put off in the bulk lane.
(c) If interactive work has decided every take for longer than GOLEM_BULK_WAIT_S, a bulk lane that has gone without one
    for as long gets the next take: half of it at least. It is interactive work's turn again after that.

The policy for bulk, for one box with one model in memory and queues in chain order:

    scribe       ████████▁▁▁▁▁▁▁▁  stay while there is work for the loaded model
    interpreter  ▁▁▁▁▁▁▁▁████████  leave when it is done, or when the dwell bound is reached and another queue waits

(1) A starving queue comes first, whatever it costs.
(2) Work for a loaded model comes next: a move between loaded models is free.
    A queue whose next message was put off, because it takes long, waits until no later stage has work: otherwise what
    has passed it would wait there for as long. Such messages are taken one by one, so that others can come in between;
    once a box has begun with them, it takes as many as fit into a batch before this rule sends it on.
(3) The dwell bound, a multiple of the measured cost of a switch, ends a stay if another queue's oldest message has
    waited longer than its own bound. The rest of the current queue is finished first if it fits into one batch.
(4) The next queue is the one furthest downstream, so that jobs finish; for `throughput` the one furthest upstream, so
    that each model is loaded once for a backlog of any size.
(5) A pilot: where a backlog of more than two batches begins, on a box that had nothing to do, the cheapest job of the
    first take goes through all stages ahead of the others, so that its answer takes as long as that of a lone job. It
    also begins with a burst whose end is not in sight, and goes on once that has become a backlog. This
    costs a load of each model at most, and a batch of one in each stage; the loaded model's work waits for it. It
    happens once: a backlog begins when the box has seen all its queues empty. Never for `throughput`.

    scribe       1▁▁88888888    without a pilot:  888888888▁▁
    interpreter  ▁1▁                              ▁▁▁▁▁▁▁▁▁8
    oracle       ▁▁1                              the first answer comes with seven others, after three full batches

With several boxes, which see each other's claims:

(6) A queue that other boxes serve is left to them, unless its backlog exceeds their batches or it waits long in spite
    of their claims, which may be stale. A box with work of its own helps only where the backlog per server is far
    larger than here.
(7) A box whose messages arrive in a stream lingers on its queue before it moves: the next message is probably on its
    way, and another box may be free for the other queue.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

from golem_chain.broker.transport.view import Line, Move, Prefer, View
from golem_chain.shared.records import Lane


@dataclass(frozen=True)
class Bounds:
    """Bounds of a stay, in multiples of the cost of a switch."""

    dwell: float  # minimum stay, load included
    wait: float  # how long another queue's oldest message must have waited to end a stay
    starve: float  # how long a queue may go unserved before it comes first


#: `throughput` is bounded in seconds (`_starve_s`): it leaves a queue with work only if another starves.
BOUNDS: Mapping[Prefer, Bounds] = {
    "throughput": Bounds(inf, inf, inf),
    "balanced": Bounds(5, 2, 30),
    "latency": Bounds(2, 0, 10),
}
#: How long an interactive lane may go unserved before it comes first: in costs of a switch, and at least in seconds.
HELD_UP, HELD_UP_S = 10, 1.0
#: Upper limit of the starve bound, seconds.
STARVED_S = 3600.0
#: Lower limit of the starve bound, seconds: a single batch may take as long.
STARVING_S = 10.0
#: After this wait of its oldest message, in costs of a switch and at least in seconds, an idle box takes from a queue
#: that others claim.
LEFT_ALONE, LEFT_ALONE_S = 5, 1.0
#: How long a box whose messages arrive in a stream waits for the next one before it moves, seconds.
LINGER_S = 0.5
#: The longest that an idle box waits before it peeks again at queues left to others, seconds.
LOOK_S = 0.5
#: The same if nothing waits anywhere: a wake mark ends the wait at once, unless the box that took it has died.
EMPTY_LOOK_S = 2.0
#: The longest that a box waits for the rest of a burst, seconds.
GATHER_S = 0.05
#: How many batches a backlog has at least for which a pilot is sent ahead.
PILOTED_BATCHES = 2


def decide(view: View) -> Move | None:
    """Return the next move, None if nothing waits or other boxes should take it."""
    if any(line.interactive.depth for line in view.lines):
        move = _turn_of_bulk(view) or _interactive(view)
        if move:
            return move
    waiting = [line for line in view.lines if line.depth > 0]
    if not waiting:
        return None
    starving = [line for line in waiting if line.waited_s > _starve_s(view)]
    if starving:  # (1)
        return _take(view, max(starving, key=lambda line: line.waited_s))
    if pilot := _pilot(view, waiting):  # (5)
        return pilot
    prompt = [
        line
        for n, line in enumerate(waiting)
        if not (line.put_off and len(waiting) > n + 1) or _in_a_series(view, line)
    ]
    return _choose(view, prompt) or _choose(view, waiting)


def _pilot(view: View, waiting: Sequence[Line]) -> Move | None:
    """(5): the take that begins or goes on with a pilot."""
    first, later = waiting[0], waiting[1:]
    many = first.depth > PILOTED_BATCHES * view.batch_of(first.queue)
    if view.prefer == "throughput" or not (many or view.grows):
        return None
    if view.fresh and not (later or first.servers or first.put_off) and first.queue != view.lines[-1].queue:
        return replace(_take(view, first), pilot=True)
    order = [line.queue for line in view.lines]
    ahead = [line for line in later if view.pilot and order.index(line.queue) > order.index(view.current or order[-1])]
    return replace(_take(view, ahead[0]), pilot=True) if ahead and not ahead[0].servers else None


def _turn_of_bulk(view: View) -> Move | None:
    """(c): the take that a bulk lane gets although interactive messages wait."""
    overdue = [line for line in view.lines if line.depth and line.waited_s > view.bulk_wait_s]
    if not overdue or view.repaid or view.pressed_s <= view.bulk_wait_s:
        return None
    line = max(overdue, key=lambda line: line.waited_s)
    batch = view.batch_of(line.queue)
    return Move(line.queue, min(line.total, batch), bulk_n=min(line.depth, ceil(batch / 2)))


def _interactive(view: View) -> Move | None:
    """Return the move that interactive messages ask for, None if they are left to other boxes."""
    lines = [line for line in view.lines if line.interactive.depth]
    bound_s = max(HELD_UP * _worst_s(view), HELD_UP_S)
    held_up = [line for line in lines if line.interactive.waited_s > bound_s]
    if held_up:
        return _take(view, max(held_up, key=lambda line: line.interactive.waited_s), "interactive")
    prompt = [line for n, line in enumerate(lines) if not (line.interactive.put_off and len(lines) > n + 1)]
    chosen = _furthest(view, prompt) or _furthest(view, lines)
    return _take(view, chosen, "interactive") if chosen else None


def _furthest(view: View, lines: Sequence[Line]) -> Line | None:
    """(a, b): the queue furthest downstream whose interactive messages come now."""
    here = any(line.queue in view.resident for line in lines)
    open_ = [line for line in lines if _rented_s(view, line) <= 0 or not (here or line.servers)]
    return open_[-1] if open_ else None


def _rented_s(view: View, line: Line) -> float:
    """(a, b): seconds until interactive messages of a queue have waited as long as the switch to it costs."""
    return view.cost(line.queue) - line.interactive.oldest_s


def _in_a_series(view: View, line: Line) -> bool:
    """(2): whether the box has begun with messages of this queue that run alone, and goes on with them."""
    return line.queue == view.current and 0 < view.alone_n < view.batch_of(line.queue)


def _choose(view: View, waiting: Sequence[Line]) -> Move | None:
    """Return the next move among queues of which none starves."""
    here = [line for line in waiting if line.queue in view.resident]
    current = next((line for line in here if line.queue == view.current), None)
    if here and not _may_leave(view, here, waiting):  # (2)
        return _take(view, current if current and view.prefer == "throughput" else here[-1])
    away = [line for line in waiting if line not in here]
    due = [line for line in away if (_due(view, line, here) if here else _free_for(view, line))]
    if not due:
        return _take(view, here[-1]) if here else None
    return _take(view, due[0] if view.prefer == "throughput" else due[-1])  # (4)


def grows(line: Line, before: int) -> bool:
    """Return whether a burst was not over when the box had waited for its end. `before` as in `gathers_s`."""
    return 0 < before < line.depth and line.oldest_s >= GATHER_S


def gathers_s(view: View, line: Line, move: Move, before: int, gather_s: float) -> float:
    """Return for how many seconds an idle box waits for more of a burst before it takes from `line`; 0: it takes now.
    `before`: the messages at the last look, 0 at the first; the burst is over when none has come for `gather_s` and for
    twice the time between two of them. It is awaited until it is a batch, or a backlog to which a pilot is due."""
    enough = view.batch_of(line.queue) if view.prefer == "throughput" else inf
    if move.lane != "bulk" or move.pilot or line.oldest_s >= GATHER_S or not before < line.depth < enough:
        return 0.0
    if line.depth == 1:
        return max(0.0, gather_s - line.oldest_s)
    return max(gather_s, min(2 * line.oldest_s / line.depth, GATHER_S - line.oldest_s))


def listens(view: View) -> list[str]:
    """Return the queues that wake an idle box: those whose model it holds and those that no box serves. Queues that it
    has just left to others are excluded, because it would consume their wake marks."""
    return [line.queue for line in view.lines if not line.total and (line.queue in view.resident or not line.servers)]


def patience_s(view: View) -> float:
    """Return the seconds after which an idle box peeks again: when the first reason to leave a queue alone ends."""
    if not any(line.total for line in view.lines):  # a queue that wakes other boxes only: they may all be busy
        unheard = [view.cost(line.queue) for line in view.lines if line.queue not in listens(view)]
        return min([EMPTY_LOOK_S, *(max(LOOK_S, cost) for cost in unheard)])
    left = [LOOK_S]
    for line in view.lines:
        if line.interactive.depth:
            left.append(max(_rented_s(view, line), 0.01))
        if line.depth:
            refused = 0.0 if _welcome(view, line) else _left_alone_s(view, line) - line.oldest_s
            lingers = LINGER_S - view.idle_s if _lingers(view, line) else 0.0
            left.append(max(refused, lingers, 0.01))
    return min(left)


def _take(view: View, line: Line, lane: Lane = "bulk") -> Move:
    most = view.most_of(line) if lane == "bulk" else view.batch_of(line.queue)
    return Move(line.queue, min(line.total, most), lane)


def _worst_s(view: View) -> float:
    """Return the cost of the most expensive switch, seconds."""
    return max((view.cost(line.queue) for line in view.lines), default=0.0)


def _starve_s(view: View) -> float:
    """Return the starve bound: a queue unserved for longer comes first, seconds."""
    return min(max(BOUNDS[view.prefer].starve * _worst_s(view), STARVING_S), STARVED_S)


def _may_leave(view: View, here: Sequence[Line], waiting: Sequence[Line]) -> bool:
    """(3): whether the dwell bound is reached and another queue has waited long enough."""
    away = [line for line in waiting if line not in here]
    if not any(_due(view, line, here) for line in away):
        return False
    bound = BOUNDS[view.prefer].dwell * max(view.cost(line.queue) for line in away)
    nearly_done = sum(line.depth for line in here) <= max(view.batch.get(line.queue, 1) for line in here)
    return view.dwell_s >= (2 * bound if nearly_done else bound)


def _due(view: View, line: Line, here: Sequence[Line]) -> bool:
    """(3, 6): whether a queue justifies leaving work of our own once the dwell bound is reached."""
    if line.waited_s < BOUNDS[view.prefer].wait * view.cost(line.queue):
        return False
    ours = max(own.depth / (own.servers + 1) for own in here)
    return line.servers == 0 or line.depth / (line.servers + 1) > 2 * ours + view.batch.get(line.queue, 1)


def _free_for(view: View, line: Line) -> bool:
    return _welcome(view, line) and not _lingers(view, line)


def _welcome(view: View, line: Line) -> bool:
    """(6): whether an idle box may take from this queue."""
    return (
        line.servers == 0
        or line.depth > line.servers * view.batch.get(line.queue, 1)
        or line.oldest_s >= _left_alone_s(view, line)
    )


def _left_alone_s(view: View, line: Line) -> float:
    """Return the age in seconds at which an idle box takes a message of a queue that others claim. For a box that has
    long been idle the cost of a load is enough: no free box has taken the message in that time."""
    bound = max(LEFT_ALONE * view.cost(line.queue), LEFT_ALONE_S)
    return view.cost(line.queue) if view.idle_s >= bound else bound


def _lingers(view: View, line: Line) -> bool:
    """(7): never a lone box, nor one whose messages arrive one by one, nor for long."""
    bound = LEFT_ALONE if line.servers else min(BOUNDS[view.prefer].wait, LEFT_ALONE)
    return (
        max(view.gap_s, view.idle_s) < LINGER_S
        and view.current in view.resident
        and any(other.servers for other in view.lines)
        and line.oldest_s < bound * view.cost(line.queue)
    )
