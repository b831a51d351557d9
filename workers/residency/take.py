"""One call of `runner.serve`: runs groups in steps that fit into the memory, and gives each answer out.

take ─► groups ─ pace ─► steps ─► for each: prepare without the model ─► run with it, in batches that fit
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from golem_chain.shared.errors import GolemError, ModelAboveBudget, OutOfMemory
from golem_chain.workers.devices.faults import is_out_of_memory
from golem_chain.workers.residency import batches
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.pace import Pace
from golem_chain.workers.residency.spent import Alive, Around, Give, GivesWay, Served, Spent, Within
from golem_chain.workers.stages.engine import AnyEngine, Dividing, Ready, Sizing


class Ran(NamedTuple):
    """What a run cost, and the error that prevented it."""

    load_s: float = 0.0
    run_s: float = 0.0
    peak_bytes: int = 0
    error: GolemError | None = None


@dataclass
class Take:
    """One call of `serve`: its parameters, and what it has done so far."""

    residency: Residency
    stage: str
    requests: Sequence[object]
    around: Around
    preparing: Around
    within: Within
    next_stage: str | None
    give: Give
    alive: Alive
    gives_way: GivesWay
    costs: Sequence[float]
    full_cost: float
    pace: Pace
    at_once: int
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
            size = self.step_size(left)
            self.serve(left[:size])
            left = left[size:]
            if left and self.gives_way():
                return left
        return []

    def step_size(self, places: Sequence[int]) -> int:
        return self.pace.step_size([self.costs[place] for place in places[: self.at_once]])

    def serve(self, group: Sequence[int]) -> None:
        """Answer the requests at these places."""
        started, load_before_s = time.perf_counter(), self.served.load_s
        costs = [self.costs[place] for place in group]
        if self._serve(group, started) and max(costs) < self.full_cost:  # a long one says nothing of company
            self.pace.learn(len(group), sum(costs), time.perf_counter() - started - self.served.load_s + load_before_s)

    def _serve(self, group: Sequence[int], started: float) -> bool:
        """As `serve`; return whether all of them ran at once, so that their time is a measurement."""
        items = {place: ready for place in group if (ready := self.prepared(place, started))}
        prepare_s = time.perf_counter() - started
        self.served.compute_s += prepare_s
        limit = self.residency.batch_limit(self.stage, self.size(list(items.values()))) if items else 0
        at_once = False
        while items:
            batch, size = self.fitting(items, limit)
            answers, ran = self._run([items[place] for place in batch], size)
            if ran is None:  # out of memory
                if self.ran_out(size, len(batch)):
                    limit = self.residency.batch_limit(self.stage, size // 2)
                    continue
                ran = Ran(error=OutOfMemory(self.residency.no_room(self.stage, size)))
            at_once = ran.error is None and len(batch) == len(group)
            spent = Spent(0.0, ran.load_s, prepare_s + ran.run_s, 0 if ran.error else len(batch), ran.peak_bytes)
            for place, answer in zip(batch, [ran.error] * len(batch) if ran.error else answers, strict=True):
                self.answer(place, answer, spent)
                del items[place]
        return at_once

    def ran_out(self, size: int, count: int) -> bool:
        """A batch of `count` requests ran out of memory; return whether less of it may run."""
        smaller = size > 1 and (count > 1 or self._divides)
        self.residency.ran_out(self.stage, size if smaller else 1)
        return smaller

    @property
    def _divides(self) -> bool:
        return isinstance(self.residency.engines[self.stage], Dividing)

    def size(self, batch: Sequence[Ready[object]]) -> int:
        engine: object = self.residency.engines[self.stage]
        return engine.size([ready.item for ready in batch]) if isinstance(engine, Sizing) else len(batch)

    def fitting(self, items: Mapping[int, Ready[object]], limit: int) -> tuple[list[int], int]:
        """The places of the first items whose size together is at most `limit`, at least one; and what runs at once."""
        places = list(items)
        count = 1
        while count < len(places) and self.size([items[place] for place in places[: count + 1]]) <= limit:
            count += 1
        size = self.size([items[place] for place in places[:count]])
        return places[:count], min(size, limit) if self._divides else size

    def prepared(self, place: int, started: float) -> Ready[object] | None:
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
        self.answer(place, found, Spent(compute_s=time.perf_counter() - started))
        return None

    def answer(self, place: int, answer: object, spent: Spent) -> None:
        elapsed_s = time.perf_counter() - self.started
        self.answers[place] = answer
        waited_s = max(0.0, elapsed_s - spent.load_s - spent.compute_s)
        self.give(place, answer, replace(spent, waited_s=waited_s, device=self.served.device))

    def _run(self, batch: Sequence[Ready[object]], size: int) -> tuple[Sequence[object], Ran | None]:
        """Run a batch, of which at most `size` at once; return its answers, and as `with_model` does."""
        answers: list[object] = []

        def work(engine: AnyEngine) -> float:
            if isinstance(engine, Dividing):
                engine.at_once = size
            answers.extend(engine.run([ready.item for ready in batch]))
            if len(answers) != len(batch):
                raise GolemError(
                    f"{self.stage} gave {len(answers)} answers to {len(batch)} requests: a bug in its engine."
                )
            return 0.0

        ran = self.with_model(size, sum(ready.audio_s for ready in batch), work)
        if ran and not ran.error:
            self.served.batch_size = max(self.served.batch_size, len(batch))
        return answers, ran

    def with_model(self, size: int, audio_s: float, work: Callable[[AnyEngine], float]) -> Ran | None:
        """Let `work` run with the loaded engine; return what that cost, or None if memory ran out in it. `work` returns
        for how many seconds of it the engine waited.

        Returns None because an exception's traceback would keep the failed batch's tensors alive.
        """
        loaded, load_s, served, residency = False, 0.0, self.served, self.residency
        self.alive(None)
        if self.failed:
            return Ran(error=self.failed)
        try:
            with residency.use(self.stage, size) as engine:
                loaded, load_s = True, residency.last_load_s
                served.load_s += load_s
                if self.next_stage is not None:
                    residency.prefetch(self.next_stage)
                    self.next_stage = None  # once for the take
                self.alive(audio_s)
                started = time.perf_counter()
                with self.around():
                    idle_s = work(engine)
                run_s = time.perf_counter() - started - idle_s
                peak_bytes = residency.memory.read().peak
        except Exception as exc:
            if loaded and (isinstance(exc, OutOfMemory) or is_out_of_memory(exc)):
                return None
            if not isinstance(exc, GolemError):
                raise
            its_own = loaded or (isinstance(exc, ModelAboveBudget) and size > 1)  # a smaller request may still fit
            self.failed = self.failed if its_own else exc.with_traceback(None)
            return Ran(load_s, error=exc.with_traceback(None))
        served.compute_s += run_s
        served.peak_bytes = max(served.peak_bytes, peak_bytes)
        return Ran(load_s, run_s, peak_bytes)
