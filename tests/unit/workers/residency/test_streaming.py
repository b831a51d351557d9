"""A streaming take gives each answer when its row is done, and what waits takes the slot."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest

from golem_chain.shared.errors import BadAudio, BrokerAway, GolemError, ModelCorrupt, ModelMissing, OutOfMemory
from golem_chain.workers.child.cancellation import BrokenOff
from golem_chain.workers.residency.pace import Pace
from golem_chain.workers.residency.runner import serve
from golem_chain.workers.residency.slots import Slots
from golem_chain.workers.residency.spent import Served, Spent
from golem_chain.workers.stages.engine import Ready, Streaming
from golem_chain.workers.stages.stub import StubEngine
from tests.support.residency import make


@dataclass
class Rows(StubEngine):
    """An engine whose items are (name, steps). It notes which names run in each step."""

    slots: int = 99
    steps: list[list[str]] = field(default_factory=list)
    breaks: dict[int, BaseException] = field(default_factory=dict)  # what is raised after so many steps
    prepared: list[str] = field(default_factory=list)

    def cost(self, ask: Any) -> float:
        return float(ask[1])

    def prepare(self, ask: Any) -> Any:
        self.prepared.append(ask[0])
        return super().prepare(ask) if isinstance(ask, GolemError) else Ready(ask)

    def run_each(
        self, batch: Sequence[Any], give: Callable[[int, Any], None], more: Callable[[int], Sequence[Any]]
    ) -> None:
        assert self.loaded
        assert len(batch) <= self.slots
        if self.fail_above is not None and len(batch) > self.fail_above:
            raise self.error_above
        live = [[n, name, steps] for n, (name, steps) in enumerate(batch)]
        begun = len(batch)
        while live:
            self.steps.append([str(name) for _, name, _ in live])
            if error := self.breaks.pop(len(self.steps), None):
                raise error
            for row in live:
                row[2] -= 1
            for n, name, left in live:
                if not left:
                    give(n, f"a({name})")
            live = [row for row in live if row[2]]
            if free := self.slots - len(live):
                added = more(free)
                assert len(added) <= free
                live += [[begun + n, name, steps] for n, (name, steps) in enumerate(added)]
                begun += len(added)


class Given:
    """What was given out: names, steps that had run by then, costs."""

    def __init__(self, engine: Rows) -> None:
        self.engine, self.all, self.spent = engine, list[tuple[int, object, int]](), dict[int, Spent]()

    def __call__(self, place: int, answer: object, spent: Spent) -> None:
        assert place not in self.spent, "an answer was given twice"
        self.all.append((place, answer, len(self.engine.steps)))
        self.spent[place] = spent


def rows(asks: Sequence[Any], at_once: int = 2, **given: Any) -> tuple[Given, Callable[..., Served], Rows]:
    residency, _, _ = make(a={}, budget=given.pop("budget", None))
    engine = residency.engines["a"] = Rows("a", **given)
    residency.memory.engines = {"a": engine}  # the fake device
    found = Given(engine)
    return found, lambda **hooks: serve(residency, "a", asks, **{"give": found, "at_once": at_once} | hooks), engine


def test_an_answer_leaves_when_its_row_is_done_and_the_next_takes_its_slot() -> None:
    given, run, engine = rows([("a", 2), ("b", 3), ("c", 2), ("d", 3)])
    served = run()
    assert isinstance(engine, Streaming)
    assert engine.steps == [["a", "c"]] * 2 + [["b", "d"]] * 3
    assert [(place, steps) for place, _, steps in given.all] == [(0, 2), (2, 2), (1, 5), (3, 5)]
    assert served.answers == ["a(a)", "a(b)", "a(c)", "a(d)"]
    given, run, engine = rows([("a", 3), ("b", 2), ("c", 2), ("d", 4)])
    run()
    assert engine.steps == [["b", "c"]] * 2 + [["a", "d"]] * 3 + [["d"]], "of one group, cheapest first"


def test_the_slots_stay_full_while_anything_waits() -> None:
    asks = [(f"r{n}", 3 + n % 3) for n in range(20)]
    _, run, engine = rows(asks, at_once=4)
    run()
    busy = sum(len(step) for step in engine.steps)
    assert busy == sum(steps for _, steps in asks)
    assert all(len(step) == 4 for step in engine.steps[: busy // 4 - 3])


def test_what_follows_is_prepared_when_its_slot_is_free() -> None:
    _, run, engine = rows([(str(n), 2) for n in range(4)])
    seen: list[int] = []
    run(give=lambda *_: seen.append(len(engine.prepared)))
    assert seen == [2, 2, 4, 4]


def test_one_that_needs_no_model_is_answered_and_takes_no_slot() -> None:
    bad = BadAudio("x is not audio.")
    residency, _, _ = make(a={})
    engine = residency.engines["a"] = Rows("a")
    engine.cost = lambda ask: 1.0  # type: ignore[method-assign]
    asks: list[Any] = [("a", 1), bad, ("b", 1), ("c", 1)]
    engine.prepare = lambda ask: StubEngine.prepare(engine, ask)  # type: ignore[method-assign]
    residency.memory.engines = {"a": engine}
    given = Given(engine)
    assert serve(residency, "a", asks, give=given, at_once=2).answers == ["a(a)", bad, "a(b)", "a(c)"]
    assert engine.steps == [["a", "b"], ["c"]]
    assert given.spent[1].batch_size == 0


def test_out_of_memory_in_mid_run_gives_nothing_twice_and_runs_the_rest_in_fewer_slots() -> None:
    given, run, engine = rows([("a", 2), ("b", 4), ("c", 4), ("d", 4), ("e", 4)], at_once=4)
    engine.breaks[4] = MemoryError("full")  # a is done, e has begun in its place
    assert run().answers == [f"a({name})" for name in "abcde"]
    assert [len(step) for step in engine.steps] == [4, 4, 4, 4, *[2] * 8]
    assert [answer for _, answer, _ in given.all[:3]] == ["a(a)", "a(b)", "a(c)"]


def test_a_lone_row_that_does_not_fit_fails_alone() -> None:
    given, run, _ = rows([("a", 1), ("b", 1)], fail_above=0)
    assert all(isinstance(answer, OutOfMemory) for answer in run().answers)
    assert len(given.all) == 2


def test_the_memory_limits_the_slots() -> None:
    _, run, engine = rows([(str(n), 1) for n in range(6)], at_once=6, working=10, budget=1000 + 30)
    assert len(run().answers) == 6
    assert {len(step) for step in engine.steps} == {3}


def test_a_row_too_wide_for_the_run_waits_for_its_end() -> None:
    class Wide(Rows):
        def size(self, batch: Sequence[Any]) -> int:
            return len(batch) * max((3 if name == "wide" else 1 for name, _ in batch), default=1)

    residency, _, _ = make(a={})
    engine = residency.engines["a"] = Wide("a")
    residency.memory.engines = {"a": engine}
    asks = [("a", 1), ("b", 1), ("wide", 2), ("c", 2)]
    assert len(serve(residency, "a", asks, at_once=2).answers) == 4
    assert engine.steps[:1] == [["a", "b"]]
    assert all(step in (["wide", "c"], ["wide"], ["c"]) for step in engine.steps[1:])


def test_once_interactive_ones_wait_nothing_begins_and_the_rest_is_given_back() -> None:
    given, run, engine = rows([(str(n), 2 + n % 2) for n in range(6)])
    served = run(gives_way=lambda: bool(given.all))
    assert len(engine.steps) == 2
    assert len(given.all) == 2
    assert sorted(served.yielded) == sorted({*range(6)} - {place for place, *_ in given.all})
    assert len(engine.prepared) == 2, "what is given back was not prepared"


def test_every_take_answers_something_however_long_interactive_jobs_wait() -> None:
    given, run, _ = rows([("a", 1), ("b", 1), ("c", 1)])
    served = run(gives_way=lambda: True)
    assert len(given.all) == 2
    assert served.yielded == [2]


def test_interactive_rows_come_first_and_bulk_follows() -> None:
    given, run, _ = rows([("a", 1), ("b", 1), ("hurried", 2)])
    run(interactive={2}, interactive_go_on=False)
    assert given.all[0][0] == 2


def test_what_was_given_before_an_interruption_stays_given() -> None:
    given, run, engine = rows([("a", 2), ("b", 3), ("c", 3)])
    engine.breaks[3] = BrokenOff()
    with pytest.raises(BrokenOff):
        run()
    assert [place for place, *_ in given.all] == [0]


def test_a_broker_that_is_away_is_no_error_of_the_model() -> None:
    _, run, engine = rows([("a", 1), ("b", 2)])
    ours = engine.run_each

    def careless(batch: Any, give: Any, more: Any) -> None:
        def caught(n: int, answer: object) -> None:
            try:
                give(n, answer)
            except Exception as exc:  # an engine may answer an item's error so
                give(n, ModelCorrupt(str(exc)))

        ours(batch, caught, more)

    engine.run_each = careless  # type: ignore[method-assign]

    def away(*_: object) -> None:
        raise BrokerAway("Redis is away.")

    with pytest.raises(BrokerAway):
        run(give=away)


def test_the_model_that_cannot_be_loaded_fails_every_row_once() -> None:
    gone = ModelMissing("There is no model.")
    given, run, engine = rows([("a", 1), ("b", 1), ("c", 1)], fail_load=gone)
    assert run().answers == [gone] * 3
    assert engine.steps == []
    assert len(given.all) == 3


def test_an_error_of_the_run_fails_what_was_in_the_slots_and_nothing_else() -> None:
    broken = ModelCorrupt("The weights are damaged.")
    given, run, engine = rows([("a", 1), ("b", 2), ("c", 1), ("d", 2)])
    engine.breaks[2] = broken
    answers = run().answers
    assert answers.count(broken) == 2
    assert len(given.all) == 4


def test_an_engine_that_forgets_a_row_or_answers_one_twice_is_named() -> None:
    _, run, engine = rows([("a", 1), ("b", 1)])
    engine.run_each = lambda batch, give, more: give(0, "a(a)")  # type: ignore[method-assign]
    answers = run().answers
    assert answers[0] == "a(a)"
    assert isinstance(answers[1], GolemError)
    assert "no answer to 1 requests" in answers[1].message
    given, run, engine = rows([("a", 1), ("b", 1)])

    def twice(batch: Any, give: Any, more: Any) -> None:
        give(0, "x")
        give(0, "y")

    engine.run_each = twice  # type: ignore[method-assign]
    answers = run().answers
    assert isinstance(answers[1], GolemError)
    assert len(given.all) == 2


def test_an_error_after_the_last_answer_takes_none_back() -> None:
    given, run, engine = rows([("a", 1), ("b", 1), ("c", 1)])
    ours, errors = engine.run_each, [ModelCorrupt("late"), MemoryError("later")]

    def late(batch: Any, give: Any, more: Any) -> None:
        ours(batch, give, lambda free: ())
        if errors:
            raise errors.pop()

    engine.run_each = late  # type: ignore[method-assign]
    assert run().answers == ["a(a)", "a(b)", "a(c)"]
    assert len(given.all) == 3


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_row_costs_its_time_in_the_model_without_what_redis_took() -> None:
    clock = Clock()
    slots = Slots(2, clock)
    slots.begin([7, 8])
    clock.now = 1.0
    row, run_s = slots.end(0)
    assert (row.place, row.company, run_s) == (7, 2, 1.0)
    with slots.paused():
        clock.now = 3.0
        slots.begin([9])
    clock.now = 4.0
    assert slots.unkept_s() == (2.0 + 1.0) / 2
    assert [slots.end(n)[1] for n in (1, 2)] == [2.0, 1.0]
    assert slots.places == []
    assert slots.fullest == 2


def test_the_cost_of_an_answer_adds_up_and_counts_its_company() -> None:
    given, run, _ = rows([("a", 1), ("b", 2), ("c", 1)])
    served = run()
    assert {place: spent.batch_size for place, spent in given.spent.items()} == {0: 2, 2: 2, 1: 1}
    assert served.batch_size == 2
    assert given.spent[1].waited_s > 0


def test_what_is_given_and_prepared_in_mid_run_is_inside_of_the_hook() -> None:
    entered: list[str] = []

    @contextmanager
    def within(unkept_s: float) -> Iterator[None]:
        assert unkept_s >= 0
        entered.append("in")
        yield
        entered.append("out")

    _, run, engine = rows([("a", 1), ("b", 1)], at_once=1)
    ours = engine.prepare

    def prepare(ask: Any) -> Any:
        entered.append("prepare")
        return ours(ask)

    engine.prepare = prepare  # type: ignore[method-assign]
    run(within=within, around=nullcontext, give=lambda *_: entered.append("give"))
    assert entered == ["prepare", "in", "give", "out", "in", "prepare", "out", "in", "give", "out", "in", "out"]


def test_a_stream_is_a_measurement_of_its_slots() -> None:
    pace = Pace()
    _, run, _ = rows([(str(n), 2) for n in range(8)])
    run(pace=pace)
    assert pace.estimate_s([2.0, 2.0]) is not None
    pace = Pace()
    given, run, _ = rows([(str(n), 2) for n in range(8)])
    run(pace=pace, gives_way=lambda: bool(given.all))
    assert pace.estimate_s([2.0]) is None, "slots that ran empty say nothing"
