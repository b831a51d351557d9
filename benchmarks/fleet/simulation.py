"""A discrete-event simulation of a fleet whose boxes use the real scheduler.

Real: `broker.transport.scheduler` and `broker.transport.consumer_state`. Modelled: queues with their lanes, wake marks,
claims and last takes, which live in Redis; engines with their measured times, which give out the answers of a batch
together; memory with the most recently used models. Deterministic: the arrival times are an input.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from golem_chain.benchmarks.fleet.costs import HOP_S, Costs
from golem_chain.broker.queues import LANES, STAGES
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.broker.transport.scheduler import decide, listens, patience_s
from golem_chain.broker.transport.view import Line, Move, Prefer, View, Waiting
from golem_chain.shared.records import Lane

#: Seconds after the last arrival at which unfinished jobs count as stuck.
STUCK_S = 20_000.0
#: Chooses the next move of a box; it may keep state in `Box.note`.
Policy = Callable[[View, "Box"], Move | None]


@dataclass
class Box:
    """One worker: its memory, resident models (least recently used first) and statistics."""

    number: int
    megabytes: float
    queues: Sequence[str]
    state: ConsumerState
    holds: list[str] = field(default_factory=list)
    note: int = 0  # for the policy
    busy: bool = False
    look: int = 0  # number of the latest scheduled look; earlier ones are void
    woken_by: str | None = None
    loads: list[float] = field(default_factory=list)  # times
    busy_s: float = 0.0
    batches: int = 0


@dataclass(frozen=True)
class Result:
    """The result of a run. Times in seconds."""

    latencies: list[float]  # of each job, in order of arrival
    first_s: float  # when the first job ended
    ended_s: float
    loads: list[float]  # times, all boxes
    utilisation: float  # of all boxes, loads included, until the last arrival
    mean_batch: float

    def latency_s(self, share: float, first: int = 0) -> float:
        """Return a quantile of the latencies, ignoring jobs before `first`."""
        counted = sorted(self.latencies[first:])
        return counted[min(len(counted) - 1, int(share * len(counted)))]

    def loads_after(self, warm_s: float) -> int:
        """Return the number of loads after the warm-up."""
        return sum(at > warm_s for at in self.loads)


def affinity(view: View, box: Box) -> Move | None:
    """The real scheduler."""
    del box
    return decide(view)


def _take(view: View, queue: str) -> Move:
    depth = next(line.total for line in view.lines if line.queue == queue)
    return Move(queue, min(depth, view.batch.get(queue, 1)))


def round_robin(view: View, box: Box) -> Move | None:
    """The queue after the one last served, as in a stock worker."""
    for step in range(1, len(view.lines) + 1):
        line = view.lines[(box.note + step) % len(view.lines)]
        if line.depth:
            box.note = (box.note + step) % len(view.lines)
            return _take(view, line.queue)
    return None


def first_stage_first(view: View, box: Box) -> Move | None:
    """The first queue of the chain that has messages."""
    del box
    waiting = [line.queue for line in view.lines if line.depth]
    return _take(view, waiting[0]) if waiting else None


def oldest_first(view: View, box: Box) -> Move | None:
    """The queue with the oldest message; for dedicated boxes with more than one queue."""
    del box
    waiting = [line for line in view.lines if line.depth]
    return _take(view, max(waiting, key=lambda line: line.oldest_s).queue) if waiting else None


POLICIES: Mapping[str, Policy] = {
    "affinity": affinity,
    "round robin": round_robin,
    "first stage first": first_stage_first,
    "dedicated": oldest_first,
}


def dedicated(boxes: int, costs: Costs, batch: int) -> list[Sequence[str]]:
    """Return the queues of each box: boxes per stage in proportion to its work, at least one; with fewer boxes than
    stages, a box serves neighbouring stages."""
    if boxes < len(STAGES):
        return [STAGES[n * len(STAGES) // boxes : (n + 1) * len(STAGES) // boxes] for n in range(boxes)]
    work = {stage: costs[stage].seconds(batch) / batch for stage in STAGES}
    given = dict.fromkeys(STAGES, 1)
    for _ in range(boxes - len(STAGES)):
        given[max(STAGES, key=lambda stage: work[stage] / given[stage])] += 1
    return [(stage,) for stage in STAGES for _ in range(given[stage])]


class Fleet:
    """Boxes with the given memory (MB). `run` simulates jobs of three stages until all are done.

    `hop_s`: overhead per batch, `message_s`: overhead per message, seconds. Only `affinity` knows lanes.
    """

    def __init__(
        self,
        memory_mb: Sequence[float],
        costs: Costs,
        policy: str = "affinity",
        *,
        batch: int = 8,
        prefer: Prefer = "balanced",
        hop_s: float = HOP_S,
        message_s: float = 0.0,
        bulk_wait_s: float = 60.0,
    ) -> None:
        self.now = 0.0
        self._costs, self._prefer, self._hop_s, self._message_s = costs, prefer, hop_s, message_s
        self._bulk_wait_s = bulk_wait_s
        self._policy, self._batch = POLICIES[policy], dict.fromkeys(STAGES, batch)
        pinned = dedicated(len(memory_mb), costs, batch) if policy == "dedicated" else [STAGES] * len(memory_mb)
        self.boxes = [
            Box(n, memory, queues, ConsumerState(lambda: self.now))
            for n, (memory, queues) in enumerate(zip(memory_mb, pinned, strict=True))
        ]
        lanes = list(itertools.product(STAGES, LANES))
        self._queues = {lane: deque[tuple[float, int]]() for lane in lanes}  # (sent, job)
        self._claims: dict[str, set[int]] = {stage: set() for stage in STAGES}
        self._served = dict.fromkeys(lanes, 0.0)  # as boxes see a queue that nobody has served since they started
        self._marks = dict.fromkeys(STAGES, False)
        self._waiting: dict[str, dict[int, Box]] = {stage: {} for stage in STAGES}  # in order of arrival
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def run(self, times: Sequence[float], interactive: Collection[int] = ()) -> Result:
        """Simulate until every job is done. `interactive`: the jobs of this lane, by their places in `times`."""
        self._lanes: list[Lane] = ["interactive" if job in interactive else "bulk" for job in range(len(times))]
        self._arrived, self._done = times, [0.0] * len(times)
        self._left, self._last, self._busy_s = len(times), times[-1], 0.0
        self._next_job = 0
        self._at(times[0], self._arrive)
        for box in self.boxes:
            self._look_at(0.0, box)
        while self._left:
            if self.now > self._last + STUCK_S:
                raise RuntimeError(f"{self._left} jobs are left to themselves: the decision is wrong.")
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        loads = sorted(at for box in self.boxes for at in box.loads)
        batches = sum(box.batches for box in self.boxes)
        busy = self._busy_s / (self._last * len(self.boxes)) if self._last else 1.0
        waits = [done - came for came, done in zip(times, self._done, strict=True)]
        return Result(waits, min(self._done), self.now, loads, busy, 3 * len(times) / batches)

    # -- what Redis does ------------------------------------------------------------------------------------------

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._count), happen))

    def _arrive(self) -> None:
        while self._next_job < len(self._arrived) and self._arrived[self._next_job] <= self.now:
            self._push(STAGES[0], self._next_job)
            self._next_job += 1
        if self._next_job < len(self._arrived):
            self._at(self._arrived[self._next_job], self._arrive)

    def _push(self, queue: str, job: int) -> None:
        self._queues[queue, self._lanes[job]].append((self.now, job))
        self._mark(queue)

    def _mark(self, queue: str) -> None:
        for box in self._waiting[queue].values():
            self._wake(box, queue)
            return
        self._marks[queue] = True

    def _claim(self, box: Box) -> None:
        for queue in box.queues:
            (self._claims[queue].add if queue in box.state.holds else self._claims[queue].discard)(box.number)

    # -- what a box does ------------------------------------------------------------------------------------------

    def _wake(self, box: Box, queue: str | None) -> None:
        for waiting in self._waiting.values():
            waiting.pop(box.number, None)
        box.woken_by = queue
        self._look_at(self.now, box)

    def _look_at(self, when: float, box: Box) -> None:
        box.look += 1
        number = box.look
        self._at(when, lambda: self._look(box) if box.look == number and not box.busy else None)

    def _look(self, box: Box) -> None:
        for waiting in self._waiting.values():
            waiting.pop(box.number, None)
        self._claim(box)
        now = self.now
        seen = []
        for queue in box.queues:
            servers = len(self._claims[queue]) - (box.number in self._claims[queue])
            bulk, interactive = self._in_lane(queue, "bulk"), self._in_lane(queue, "interactive")
            seen.append(Line(queue, bulk.depth, bulk.oldest_s, bulk.unserved_s, servers, interactive=interactive))
        view = box.state.view(seen, self._batch, self._prefer, self._bulk_wait_s)
        woken, box.woken_by = box.woken_by, None
        move = self._policy(view, box)
        if move is not None:
            self._take(box, move)
            return
        if woken and self._waits(woken):
            self._mark(woken)
        heard = listens(view) if self._policy is affinity else box.queues
        for queue in heard:
            if self._marks[queue]:
                self._marks[queue] = False
                self._wake(box, queue)
                return
        for queue in heard:
            self._waiting[queue][box.number] = box
        self._look_at(now + patience_s(view), box)

    def _in_lane(self, queue: str, lane: Lane) -> Waiting:
        line = self._queues[queue, lane]
        oldest_s = self.now - line[0][0] if line else 0.0
        return Waiting(len(line), oldest_s, self.now - self._served[queue, lane])

    def _waits(self, queue: str) -> bool:
        return any(self._queues[queue, lane] for lane in LANES)

    def _fill(self, taken: list[int], queue: str, lane: Lane, most: int) -> None:
        line = self._queues[queue, lane]
        some = [line.popleft()[1] for _ in range(min(len(line), most - len(taken)))]
        if some:
            self._served[queue, lane] = self.now
        taken += some

    def _take(self, box: Box, move: Move) -> None:
        queue, taken = move.queue, list[int]()
        self._fill(taken, queue, "bulk", move.bulk_n)
        self._fill(taken, queue, "interactive", move.take_n)
        self._fill(taken, queue, "bulk", 1 if move.pilot and not taken else move.take_n)
        box.state.takes(move, count=len(taken))
        for job in taken:
            box.state.took(str(job), 1)
        box.busy = True
        self._claim(box)
        if self._waits(queue):
            self._mark(queue)
        cost = self._costs[queue]
        spends = self._hop_s + self._message_s * len(taken) + cost.take_s(len(taken), self._batch[queue])
        if queue not in box.holds:
            box.loads.append(self.now)
            spends += cost.load_s
            box.holds.append(queue)
            while len(box.holds) > 1 and sum(self._costs[held].megabytes for held in box.holds) > box.megabytes:
                del box.holds[0]
        box.holds.sort(key=queue.__eq__)  # the model in use is evicted last
        box.batches += 1
        self._busy_s += max(0.0, min(self.now + spends, self._last) - self.now)
        self._at(self.now + spends, lambda: self._finish(box, queue, taken))

    def _finish(self, box: Box, queue: str, taken: Sequence[int]) -> None:
        box.busy = False
        box.state.learned(frozenset(box.holds), {queue: self._costs[queue].load_s})
        for job in taken:
            box.state.done(str(job))
            if queue == STAGES[-1]:
                self._done[job] = self.now
                self._left -= 1
            else:
                self._push(STAGES[STAGES.index(queue) + 1], job)
        self._look_at(self.now, box)
