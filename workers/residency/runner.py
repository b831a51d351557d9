"""Runs one take of a stage in groups of similar cost, the cheapest first, and gives each answer out when it is ready.
Interactive requests come first; bulk gives way to interactive ones that wait, between two steps.

take ─ lane, cost ─► groups ─ pace ─► steps ─► for each: prepare without the model ─► run with it, in batches that fit

out of memory in a run:     unload all -> half the batch, down to one item -> half of what the engine computes of that
                            item at once, if it can divide it -> OutOfMemory for the item that fails alone
the model cannot be loaded: the error for all that need it, since the weights are the same for any batch
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from math import inf

from golem_chain.shared.errors import GolemError, ModelAboveBudget, OutOfMemory
from golem_chain.workers.devices.faults import is_out_of_memory
from golem_chain.workers.residency import batches
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.pace import Pace
from golem_chain.workers.stages.engine import Dividing, Estimating, Ready, Sizing

#: A context manager entered around an engine's `run` or `prepare`, but not around loads and bookkeeping.
Around = Callable[[], AbstractContextManager[None]]
#: Called at the beginning of each step with the seconds of audio to run, or None if the step's length is not known.
Alive = Callable[[float | None], None]


@dataclass(frozen=True)
class Spent:
    """What one answer cost. The seconds add up to the time from the start of the take to the answer."""

    waited_s: float = 0.0  # for cheaper requests of the take, and for runs that were out of memory
    load_s: float = 0.0  # for the model
    compute_s: float = 0.0  # preparing the group, and running the batch with this item
    batch_size: int = 0  # items that ran at once; 0 if the model was not needed
    peak_bytes: int = 0
    device: str = "cpu"


#: Whether the requests that have no answer yet are to give way to an interactive one.
GivesWay = Callable[[], bool]
#: Receives an answer, or the GolemError in its place, as soon as it is ready: (place of the request, answer, cost).
Give = Callable[[int, object, Spent], None]


@dataclass
class Served:
    """A take's results and cost. `answers` are in the order of the requests; a failed one is a GolemError."""

    answers: list[object] = field(default_factory=list)
    load_s: float = 0.0
    compute_s: float = 0.0
    batch_size: int = 0  # the largest number of items that ran at once
    peak_bytes: int = 0
    device: str = "cpu"
    put_off: list[int] = field(default_factory=list)  # places of the requests that were not run: they take long
    yielded: list[int] = field(default_factory=list)  # likewise: they give way to interactive ones


def serve(
    residency: Residency,
    stage: str,
    requests: Sequence[object],
    around: Around = nullcontext,
    next_stage: str | None = None,
    give: Give = lambda *_: None,
    alive: Alive = lambda _: None,
    *,
    preparing: Around = nullcontext,
    may_put_off: bool = False,
    interactive: Collection[int] = (),
    interactive_go_on: bool = True,
    gives_way: GivesWay = lambda: False,
    pace: Pace | None = None,
) -> Served:
    """Answer every request, prefetching the weights of `next_stage` meanwhile. A GolemError takes the place of each
    answer that it prevents. Any other exception ends the take; what was given out by then has been answered.

    `around` is entered around each `run`, `preparing` around each `prepare`.
    `may_put_off`: later groups that would take long are not run, but left to the caller (`Served.put_off`), and so is
    what gives way (`Served.yielded`). `interactive`: places of the requests of that lane; `interactive_go_on`: whether
    any of them has a next stage. `pace`: the stage's measured throughput, which divides groups into steps; None: they
    run whole."""
    costs = _costs(residency.engines[stage], requests)
    full_cost = getattr(residency.engines[stage], "full_cost", inf)
    hooks = around, preparing, next_stage, give, alive, gives_way
    take = _Take(residency, stage, requests, *hooks, costs, full_cost, pace or _Whole())
    first, bulk = batches.in_lanes(costs, interactive, full_cost)
    take.served.put_off += take.serve_groups(first, may_put_off=may_put_off)
    if first and may_put_off:
        estimates_s = [take.pace.estimate_s([costs[place] for place in group]) for group in bulk]
        count = 0 if take.served.put_off else batches.following(estimates_s, go_on=interactive_go_on)
        take.served.yielded += [place for later in bulk[count:] for place in later]
        bulk = bulk[:count]
    take.served.put_off += take.serve_groups(bulk, may_put_off=may_put_off)
    take.served.answers = [take.answers[place] for place in sorted(take.answers)]
    return take.served


def _costs(engine: object, requests: Sequence[object]) -> list[float]:
    if isinstance(engine, Estimating):
        return [engine.cost(request) for request in requests]
    return [1.0] * len(requests)


class _Whole(Pace):
    """No division into steps: a group that fits into the memory runs at once."""

    def step_size(self, costs: Sequence[float]) -> int:
        return max(len(costs), 1)


@dataclass
class _Take:
    """One call of `serve`: its parameters, and what it has done so far."""

    residency: Residency
    stage: str
    requests: Sequence[object]
    around: Around
    preparing: Around
    next_stage: str | None
    give: Give
    alive: Alive
    gives_way: GivesWay
    costs: Sequence[float]
    full_cost: float
    pace: Pace
    served: Served = field(init=False)
    answers: dict[int, object] = field(default_factory=dict)  # by place
    failed: GolemError | None = None  # why the model cannot be loaded
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.served = Served(device=self.residency.memory.device)

    def serve_groups(self, groups: Sequence[Sequence[int]], *, may_put_off: bool) -> list[int]:
        """Answer the requests of the groups; return the places of those that are put off. What gives way is noted."""
        for n, group in enumerate(groups):
            started, cost = time.perf_counter(), sum(self.costs[place] for place in group)
            left, later = self.serve_in_steps(group), [place for some in groups[n + 1 :] for place in some]
            if left or (later and self.gives_way()):
                self.served.yielded += [*left, *later]
                return []
            spent_s, following = time.perf_counter() - started, groups[n + 1 : n + 2]
            next_costs = [sum(self.costs[place] for place in some) for some in following]
            if may_put_off and any(batches.puts_off(spent_s, cost, next_cost) for next_cost in next_costs):
                return later
        return []

    def serve_in_steps(self, group: Sequence[int]) -> list[int]:
        """Answer the requests of a group, step by step; return the places of those that give way."""
        left = list(group)
        while left:
            size = self.pace.step_size([self.costs[place] for place in left])
            self.serve(left[:size])
            left = left[size:]
            if left and self.gives_way():
                return left
        return []

    def serve(self, group: Sequence[int]) -> None:
        """Answer the requests at these places."""
        started, load_before_s = time.perf_counter(), self.served.load_s
        costs = [self.costs[place] for place in group]
        if self._serve(group, started) and max(costs) < self.full_cost:  # a long one says nothing of company
            self.pace.learn(len(group), sum(costs), time.perf_counter() - started - self.served.load_s + load_before_s)

    def _serve(self, group: Sequence[int], started: float) -> bool:
        """As `serve`; return whether all of them ran at once, so that their time is a measurement."""
        items = {place: ready for place in group if (ready := self._prepared(place, started))}
        prepare_s = time.perf_counter() - started
        self.served.compute_s += prepare_s
        limit = self.residency.batch_limit(self.stage, self._size(list(items.values()))) if items else 0
        at_once = False
        while items:
            batch, size = self._fitting(items, limit)
            ran = self._run([items[place] for place in batch], size, prepare_s)
            if ran is None:  # out of memory
                smaller = size > 1 and (len(batch) > 1 or self._divides)
                self.residency.ran_out(self.stage, size if smaller else 1)
                if smaller:
                    limit = self.residency.batch_limit(self.stage, size // 2)
                    continue
                ran = [OutOfMemory(self.residency.no_room(self.stage, size))], Spent(compute_s=prepare_s)
            at_once = ran[1].batch_size == len(group)
            for place, answer in zip(batch, ran[0], strict=True):
                self._answer(place, answer, ran[1])
                del items[place]
        return at_once

    @property
    def _divides(self) -> bool:
        return isinstance(self.residency.engines[self.stage], Dividing)

    def _size(self, batch: Sequence[Ready[object]]) -> int:
        engine: object = self.residency.engines[self.stage]
        return engine.size([ready.item for ready in batch]) if isinstance(engine, Sizing) else len(batch)

    def _fitting(self, items: Mapping[int, Ready[object]], limit: int) -> tuple[list[int], int]:
        """The places of the first items whose size together is at most `limit`, at least one; and what runs at once."""
        places = list(items)
        count = 1
        while count < len(places) and self._size([items[place] for place in places[: count + 1]]) <= limit:
            count += 1
        size = self._size([items[place] for place in places[:count]])
        return places[:count], min(size, limit) if self._divides else size

    def _prepared(self, place: int, started: float) -> Ready[object] | None:
        """Prepare a request of the group that began at `started`; None if that has answered it."""
        self.alive(None)
        found: object
        with self.preparing():
            try:
                found = self.residency.engines[self.stage].prepare(self.requests[place])
            except GolemError as exc:
                found = exc
        if isinstance(found, Ready):
            return found
        self._answer(place, found, Spent(compute_s=time.perf_counter() - started))
        return None

    def _answer(self, place: int, answer: object, spent: Spent) -> None:
        elapsed_s = time.perf_counter() - self.started
        self.answers[place] = answer
        waited_s = max(0.0, elapsed_s - spent.load_s - spent.compute_s)
        self.give(place, answer, replace(spent, waited_s=waited_s, device=self.served.device))

    def _run(
        self, batch: Sequence[Ready[object]], size: int, prepare_s: float
    ) -> tuple[Sequence[object], Spent] | None:
        """Run a batch, of which at most `size` at once; return its answers and what each cost, or None if memory ran
        out in the run.

        Returns None because an exception's traceback would keep the failed batch's tensors alive.
        """
        loaded, load_s, served, residency = False, 0.0, self.served, self.residency
        self.alive(None)
        if self.failed:
            return [self.failed] * len(batch), Spent(compute_s=prepare_s)
        try:
            with residency.use(self.stage, size) as engine:
                loaded, load_s = True, residency.last_load_s
                served.load_s += load_s
                if self.next_stage is not None:
                    residency.prefetch(self.next_stage)
                    self.next_stage = None  # once for the take
                self.alive(sum(ready.audio_s for ready in batch))
                if isinstance(engine, Dividing):
                    engine.at_once = size
                started = time.perf_counter()
                with self.around():
                    answers = engine.run([ready.item for ready in batch])
                run_s = time.perf_counter() - started
                peak_bytes = residency.memory.read().peak
            if len(answers) != len(batch):
                raise GolemError(
                    f"{self.stage} gave {len(answers)} answers to {len(batch)} requests: a bug in its engine."
                )
        except Exception as exc:
            if loaded and (isinstance(exc, OutOfMemory) or is_out_of_memory(exc)):
                return None
            if not isinstance(exc, GolemError):
                raise
            its_own = loaded or (isinstance(exc, ModelAboveBudget) and size > 1)  # a smaller request may still fit
            self.failed = self.failed if its_own else exc.with_traceback(None)
            return [exc.with_traceback(None)] * len(batch), Spent(load_s=load_s, compute_s=prepare_s)
        served.compute_s += run_s
        served.peak_bytes = max(served.peak_bytes, peak_bytes)
        served.batch_size = max(served.batch_size, len(batch))
        return answers, Spent(0.0, load_s, prepare_s + run_s, len(batch), peak_bytes)
