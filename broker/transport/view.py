"""What the scheduler sees and answers: the two lanes of every queue, what the box knows of itself, the next move."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from golem_chain.shared.records import Lane

Prefer = Literal["throughput", "latency", "balanced"]

#: Assumed cost of a switch until one is measured, seconds.
DEFAULT_COST_S = 0.5
#: How many batches one take may hold, by queue and by what is preferred, else one. In the Oracle a row that is done
#: makes room for another, so that the slots are full until the last batch of a take.
ROUNDS: Mapping[str, Mapping[Prefer, int]] = {"oracle": {"throughput": 4, "balanced": 2}}


@dataclass(frozen=True)
class Waiting:
    """What waits in one lane of a queue."""

    depth: int = 0
    oldest_s: float = 0.0  # age of its oldest message
    unserved_s: float = inf  # since any box last took from it
    put_off: bool = False  # its next message takes long

    @property
    def waited_s(self) -> float:
        """How long messages have waited without any box taking from the lane, seconds."""
        return min(self.oldest_s, self.unserved_s)


@dataclass(frozen=True)
class Line:
    """The state of one queue: of its bulk lane, of the interactive one, and of the boxes that serve both."""

    queue: str
    depth: int  # these, `oldest_s`, `unserved_s` and `put_off` are of the bulk lane, as in `Waiting`
    oldest_s: float = 0.0
    unserved_s: float = inf
    servers: int = 0  # other boxes that claim the queue
    put_off: bool = False
    interactive: Waiting = Waiting()

    @property
    def waited_s(self) -> float:
        """How long bulk messages have waited without any box taking one of the queue, seconds."""
        return min(self.oldest_s, self.unserved_s)

    @property
    def total(self) -> int:
        """The messages of both lanes."""
        return self.depth + self.interactive.depth


@dataclass(frozen=True)
class View:
    """The scheduler's input: all that a box knows when it is free to take messages."""

    lines: Sequence[Line]  # in chain order
    batch: Mapping[str, int]  # maximum batch size by queue
    resident: frozenset[str] = frozenset()
    current: str | None = None  # the queue last served
    dwell_s: float = 0.0  # since the box moved to it
    cost_s: Mapping[str, float] = field(default_factory=dict)  # measured load of each model
    prefer: Prefer = "balanced"
    idle_s: float = inf  # since the box last had a message in hand
    gap_s: float = inf  # average time between takes of the current queue; inf after only one
    alone_n: int = 0  # messages that ran alone in the last takes of the current queue, without one of another kind
    bulk_wait_s: float = inf  # how long interactive work without a pause may hold up the bulk lane of a queue
    pressed_s: float = 0.0  # for how long interactive work has decided every take, turns of bulk aside
    repaid: bool = False  # the last take was such a turn
    fresh: bool = False  # the box has taken nothing since it saw all its queues empty, or started
    grows: bool = False  # a burst that has begun was not over when the box had waited for its end
    pilot: bool = False  # the last take was a pilot, or the first after `fresh` and of `PILOTS` messages at most

    def cost(self, queue: str) -> float:
        """Return the cost of a move to the queue, seconds."""
        guess = max(self.cost_s.values(), default=DEFAULT_COST_S)  # for a model not loaded so far
        return 0.0 if queue in self.resident else self.cost_s.get(queue, guess)

    def batch_of(self, queue: str) -> int:
        """Return the maximum number of messages that run at once."""
        return max(1, self.batch.get(queue, 1))

    def most_of(self, line: Line) -> int:
        """Return the maximum number of messages of one take of the bulk lane: more than a batch only where nobody waits
        for them, no other box and no interactive message."""
        hurried = any(other.interactive.depth for other in self.lines)
        rounds = 1 if hurried or line.servers else ROUNDS.get(line.queue, {}).get(self.prefer, 1)
        return rounds * self.batch_of(line.queue)


@dataclass(frozen=True)
class Move:
    """Take up to `take_n` messages of `queue`: interactive ones first, but at least `bulk_n` of the bulk lane if it has
    so many. `lane`: whose rules chose the move. `pilot`: only the cheapest of them runs, the others are given back."""

    queue: str
    take_n: int
    lane: Lane = "bulk"
    bulk_n: int = 0
    pilot: bool = False
