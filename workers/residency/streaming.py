"""A take of an engine that streams: an answer is given out when its row is done, and the next request takes its slot.

group ─► prepare as many as there are slots ─► run in the slots ─► a row is done: give its answer, prepare what follows
                                                                    nothing more begins once interactive ones wait

out of memory in a run: what was given stays given, the rest runs again with half of the slots
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import perf_counter

from golem_chain.shared.errors import GolemError, OutOfMemory
from golem_chain.workers.residency.slots import Slots
from golem_chain.workers.residency.spent import Spent
from golem_chain.workers.residency.take import Ran, Take
from golem_chain.workers.stages.engine import AnyEngine, Ready, Streaming


class _Passing(BaseException):
    """Carries an exception of a hook through the engine that called it, past whatever that does with its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error


@dataclass
class StreamingTake(Take):
    """A take whose steps are rows: at most as many at once as the pace, the memory and `at_once` allow."""

    ready: dict[int, Ready[object]] = field(default_factory=dict)  # prepared and not answered, by place, in order
    prepare_s: dict[int, float] = field(default_factory=dict)  # what that took

    def serve_in_steps(self, group: Sequence[int]) -> list[int]:
        """Answer the requests of a group; return the places of those that give way, of which none has begun."""
        waiting, largest = list(group), inf
        while waiting or self.ready:
            self._fill(waiting, self.step_size([*self.ready, *waiting]) - len(self.ready))
            if not self.ready:
                if self.gives_way():
                    return waiting
                continue
            asked = int(min(self.size(list(self.ready.values())), largest))
            batch, size = self.fitting(self.ready, self.residency.batch_limit(self.stage, asked))
            slots = Slots(len(batch))
            ran = self._run_slots(slots, batch, size, waiting)
            if ran is None:  # out of memory
                if self.ran_out(size, len(batch)):
                    largest = size // 2
                    continue
                ran = Ran(error=OutOfMemory(self.residency.no_room(self.stage, size)))
            if ran.error:
                for place in slots.places if slots.fullest else batch:  # none if all have their answers already
                    self._give(place, ran.error, Spent(0.0, ran.load_s, self.prepare_s[place]))
            elif self.gives_way() and (waiting or self.ready):
                left = [*self.ready, *waiting]
                self.ready.clear()
                return left
        return []

    def _fill(self, waiting: list[int], count: int) -> None:
        """Prepare requests that wait, until `count` of them need the model."""
        while waiting and count > 0:
            place, started = waiting.pop(0), perf_counter()
            if ready := self.prepared(place, started):
                self.ready[place], self.prepare_s[place] = ready, perf_counter() - started
                self.served.compute_s += self.prepare_s[place]
                count -= 1

    def _give(self, place: int, answer: object, spent: Spent) -> None:
        del self.ready[place]
        self.answer(place, answer, spent)

    def _run_slots(self, slots: Slots, batch: list[int], size: int, waiting: list[int]) -> Ran | None:
        """Run a batch, and in the places of those that are done what waits, while all of it together is of at most this
        size. Returns as `with_model` does; what is still in a slot then has no answer."""
        done: list[int] = []
        load_s = 0.0

        def give(number: int, answer: object) -> None:
            try:
                row, run_s = slots.end(number)
            except KeyError:
                bug = f"{self.stage} gave an answer to a request that it does not run: a bug in its engine."
                raise GolemError(bug) from None
            with self._away(slots):
                done.append(row.place)
                load = load_s if row.place in batch else 0.0
                peak_bytes = self.residency.memory.read().peak
                compute_s = self.prepare_s[row.place] + run_s
                self._give(row.place, answer, Spent(0.0, load, compute_s, row.company, peak_bytes))
                self.alive(self._audio_s(slots))

        def more(free: int) -> list[object]:
            with self._away(slots):
                found = self._following(slots, free, size, waiting)
                slots.begin(found)
                self.alive(self._audio_s(slots))
                return [self.ready[place].item for place in found]

        def work(engine: AnyEngine) -> float:
            nonlocal load_s
            assert isinstance(engine, Streaming)
            load_s, engine.slots = self.residency.last_load_s, slots.count
            slots.begin(batch)
            engine.run_each([self.ready[place].item for place in batch], give, more)
            if slots.places:
                raise GolemError(f"{self.stage} gave no answer to {len(slots.places)} requests: a bug in its engine.")
            return slots.away_s

        try:
            ran = self.with_model(size, sum(self.ready[place].audio_s for place in batch), work)
        except _Passing as passing:
            raise passing.error from None
        self.served.batch_size = max(self.served.batch_size, slots.fullest)
        if ran and not ran.error and not self.gives_way():
            prepare_s = sum(self.prepare_s[place] for place in done)
            self.pace.learn(slots.count, sum(self.costs[place] for place in done), ran.run_s + prepare_s)
        return ran

    def _following(self, slots: Slots, free: int, size: int, waiting: list[int]) -> list[int]:
        """Which requests begin now in `free` slots; none if those that wait give way."""
        found: list[int] = []
        while len(found) < free and not self.gives_way():
            begun = [*slots.places, *found]
            if len(self.ready) == len(begun):
                self._fill(waiting, 1)
            following = next((place for place in self.ready if place not in begun), None)
            if following is None or self.size([self.ready[place] for place in (*begun, following)]) > size:
                break  # what is too large waits for the end of this run
            found.append(following)
        return found

    def _audio_s(self, slots: Slots) -> float:
        return sum(self.ready[place].audio_s for place in slots.places)

    @contextmanager
    def _away(self, slots: Slots) -> Iterator[None]:
        """The engine waits while an answer is given or a request prepared, and nothing interrupts that."""
        with slots.paused(), self.within(slots.unkept_s()):
            try:
                yield
            except Exception as exc:
                raise _Passing(exc) from exc
