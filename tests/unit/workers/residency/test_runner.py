"""Answers leave a take when they are ready, once, with what they cost."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from golem_chain.shared.errors import BadAudio, GolemError, ModelAboveBudget, ModelMissing, OutOfMemory
from golem_chain.workers.child.cancellation import BrokenOff
from golem_chain.workers.residency.pace import Pace
from golem_chain.workers.residency.runner import serve
from golem_chain.workers.residency.spent import Spent
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.stub import StubEngine
from tests.support.residency import make

LONG, SHORT = 8.0, 1.0


class Given:
    """Collects what is given out, with the batches that had run by then."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.all, self.spent = engine, list[tuple[int, object, int]](), dict[int, Spent]()

    def __call__(self, place: int, answer: object, spent: Spent) -> None:
        assert place not in self.spent, "an answer was given twice"
        self.all.append((place, answer, len(self.engine.batches)))
        self.spent[place] = spent


def in_groups(requests: list[Any], costs: dict[Any, float], **engine: Any) -> tuple[Given, Callable[..., Any], Any]:
    residency, engines, _ = make(a={"costs": costs, **engine}, b={})
    given = Given(engines["a"])
    return given, lambda **hooks: serve(residency, "a", requests, give=given, **hooks), engines["a"]


def after(seconds: float, batch: Any) -> list[Any]:
    time.sleep(seconds)
    return list(batch)


def test_seven_short_ones_are_given_out_before_the_long_one_runs() -> None:
    given, run, engine = in_groups(["long", *range(7)], {"long": LONG})
    served = run()
    assert engine.batches == [7, 1]
    assert [(place, ran) for place, _, ran in given.all] == [*((place, 1) for place in range(1, 8)), (0, 2)]
    assert served.answers == ["a(long)", *(f"a({n})" for n in range(7))]


def test_each_of_them_waits_less_than_one_and_a_half_times_its_time_alone() -> None:
    costs_s: dict[Any, float] = {"long": 0.8} | dict.fromkeys(range(7), 0.1)

    def timed(requests: list[Any]) -> dict[Any, float]:
        given, run, engine = in_groups(requests, costs_s)
        engine.run = lambda batch: after(max(costs_s[item] for item in batch), batch)
        run()
        return {requests[place]: spent.waited_s + spent.compute_s for place, spent in given.spent.items()}

    alone = {n: timed([n])[n] for n in range(7)}
    beside = timed(["long", *range(7)])
    assert all(beside[n] < 1.5 * alone[n] for n in range(7))
    assert beside["long"] < 1.5 * costs_s["long"]


def test_an_answer_that_needs_no_model_is_given_before_its_group_runs() -> None:
    bad = BadAudio("x.wav is not audio.")
    given, run, _ = in_groups([1, bad, 2], {})
    run()
    assert given.all == [(1, bad, 0), (0, "a(1)", 1), (2, "a(2)", 1)]
    assert given.spent[1].batch_size == 0


def test_a_long_recording_is_not_even_prepared_before_the_short_ones_are_answered() -> None:
    given, run, engine = in_groups(["long", "short"], {"long": LONG})
    prepared = []

    def prepare(ask: str) -> Ready[str]:
        prepared.append((ask, len(given.all)))
        return Ready(ask)

    engine.prepare = prepare
    run()
    assert prepared == [("short", 0), ("long", 1)]


def test_what_may_be_broken_off_is_the_run_and_not_the_preparation() -> None:
    _, run, engine = in_groups([1], {})
    entered: list[str] = []

    @contextmanager
    def entering(name: str) -> Iterator[None]:
        entered.append(name)
        yield

    def prepare(ask: int) -> Ready[int]:
        entered.append("prepare")
        return Ready(ask)

    engine.prepare = prepare
    run(around=lambda: entering("around"), preparing=lambda: entering("preparing"))
    assert entered == ["preparing", "prepare", "around"]


def test_an_answer_costs_what_its_own_group_cost() -> None:
    given, run, engine = in_groups(["long", 1, 2], {"long": LONG})
    engine.run = lambda batch: after(0.3 if "long" in batch else 0.05, batch)
    served = run()
    short, long = given.spent[1], given.spent[0]
    assert (short.batch_size, long.batch_size, served.batch_size) == (2, 1, 2)
    assert 0.05 <= short.compute_s < 0.3 <= long.compute_s
    assert short.waited_s < 0.05 <= long.waited_s
    assert served.compute_s == pytest.approx(short.compute_s + long.compute_s, abs=0.01)


def test_out_of_memory_gives_no_answer_twice_and_halves_only_what_is_left() -> None:
    given, run, engine = in_groups(["long", *range(4)], {"long": LONG}, fail_above=2)
    assert run().answers == ["a(long)", *(f"a({n})" for n in range(4))]
    assert engine.batches == [4, 2, 2, 1]
    assert [place for place, *_ in given.all] == [1, 2, 3, 4, 0]


def test_what_was_given_before_an_interruption_is_given_once_if_the_rest_is_served_again() -> None:
    given, run, engine = in_groups(["long", 1, 2], {"long": LONG})
    ours = engine.run

    def broken(batch: Any) -> Any:
        if "long" in batch:
            raise BrokenOff
        return ours(batch)

    engine.run = broken
    with pytest.raises(BrokenOff):
        run()
    assert [place for place, *_ in given.all] == [1, 2]


def test_a_model_that_cannot_be_loaded_fails_what_needs_it_and_spares_the_rest() -> None:
    gone, bad = ModelMissing("There is no model."), BadAudio("x.wav is not audio.")
    _, run, engine = in_groups(["long", 1, bad], {"long": LONG, bad: 3 * LONG}, fail_load=gone)
    assert run().answers == [gone, gone, bad]
    assert engine.loads == 0


def test_an_error_of_a_run_fails_its_group_only() -> None:
    _, run, engine = in_groups(["long", 1], {"long": LONG})
    engine.run = lambda batch: list(batch) if "long" in batch else []
    answers = run().answers
    assert isinstance(answers[1], GolemError)
    assert "0 answers to 1 requests" in answers[1].message
    assert answers[0] == "long"


def test_a_load_that_fails_for_memory_is_not_tried_again_for_the_next_group() -> None:
    _, run, engine = in_groups(["long", 1], {"long": LONG}, fail_load=MemoryError(), fail_loads=2)
    assert all(isinstance(answer, OutOfMemory) for answer in run().answers)
    assert engine.fail_loads == 0


def test_an_engine_without_an_estimate_has_one_group() -> None:
    residency, engines, _ = make(a={})

    class Plain:
        """An engine of the protocol's required methods only."""

        name, weights_bytes = "a", 1000
        load, unload, run = engines["a"].load, engines["a"].unload, engines["a"].run
        working_bytes, prepare = engines["a"].working_bytes, engines["a"].prepare

    residency.engines["a"] = Plain()
    assert serve(residency, "a", [1, 2]).answers == ["a(1)", "a(2)"]
    assert engines["a"].batches == [2]


class Sized(StubEngine):
    """An engine whose items are their own sizes; a batch needs 10 bytes for each unit."""

    def size(self, batch: Sequence[Any]) -> int:
        return sum(batch)

    def working_bytes(self, batch: int) -> int:
        return 10 * batch


class Divided(Sized):
    """Likewise, but it computes no more than `at_once` of it together."""

    at_once = 99

    def run(self, batch: Sequence[Any]) -> list[object]:
        most = min(self.at_once, self.size(batch))
        self.portions = [*getattr(self, "portions", []), most]
        if self.fail_above is not None and most > self.fail_above:
            raise self.error_above
        return [f"a({item})" for item in batch]


def sized(kind: type[StubEngine], budget: int | None = None, **given: Any) -> tuple[Any, Any]:
    residency, engines, _ = make(budget=budget, a={})
    residency.engines["a"] = engines["a"] = kind("a", **given)
    return residency, engines["a"]


def test_a_batch_is_planned_by_the_size_of_its_items_not_by_their_number() -> None:
    residency, engine = sized(Sized, budget=1000 + 10 * 5)
    assert serve(residency, "a", [1, 1, 3, 4, 5]).answers == [f"a({n})" for n in (1, 1, 3, 4, 5)]
    assert engine.batches == [3, 1, 1]


def test_a_request_that_is_too_large_fails_alone_and_names_the_remedy() -> None:
    residency, engine = sized(Sized, budget=1000 + 10 * 5)
    answers = serve(residency, "a", [6, 1, 2]).answers
    assert isinstance(answers[0], ModelAboveBudget)
    assert "fewer new tokens" in answers[0].message
    assert answers[1:] == ["a(1)", "a(2)"]
    assert engine.loads == 1


def test_an_item_that_can_be_divided_runs_in_portions_that_fit() -> None:
    residency, engine = sized(Divided, budget=1000 + 10 * 5)
    assert serve(residency, "a", [8]).answers == ["a(8)"]
    assert engine.portions == [5]


def test_a_divided_item_that_runs_out_is_halved_down_to_one_before_it_fails() -> None:
    residency, engine = sized(Divided, fail_above=1)
    assert serve(residency, "a", [8]).answers == ["a(8)"]
    assert engine.portions == [8, 4, 2, 1]
    residency, engine = sized(Divided, fail_above=0)
    (failed,) = serve(residency, "a", [8]).answers
    assert isinstance(failed, OutOfMemory)
    assert engine.portions == [8, 4, 2, 1]


def test_jobs_are_halved_before_the_parts_of_one_are() -> None:
    residency, engine = sized(Divided, fail_above=2)
    assert serve(residency, "a", [4, 4]).answers == ["a(4)", "a(4)"]
    assert engine.portions == [8, 4, 2, 2], "both together, one alone, and then each in halves"


def test_a_large_request_that_ran_out_alone_does_not_block_the_next_one() -> None:
    residency, engine = sized(Sized, fail_above=0)
    (failed,) = serve(residency, "a", [6]).answers
    assert isinstance(failed, OutOfMemory)
    engine.fail_above = None
    assert serve(residency, "a", [6]).answers == ["a(6)"]


def test_what_is_learnt_of_a_large_item_is_not_taken_for_that_of_a_small_one() -> None:
    residency, _ = sized(Sized)
    ours, sizes = residency.use, list[int]()

    def watched(stage: str, batch: int = 1) -> Any:
        sizes.append(batch)  # by which its peak is learnt
        return ours(stage, batch)

    residency.use = watched
    serve(residency, "a", [8])
    serve(residency, "a", [1])
    assert sizes == [8, 1]


def test_each_step_gives_a_sign_of_life_and_a_run_the_audio_of_its_batch() -> None:
    _, run, engine = in_groups(["long", 1, 2], {"long": LONG})
    engine.prepare = lambda ask: Ready(ask, audio_s=60.0 if ask == "long" else 3.0)
    signs: list[float | None] = []
    run(alive=signs.append)
    assert signs == [None, None, None, 6.0, None, None, 60.0]


def test_the_next_stage_is_fetched_once_for_the_take() -> None:
    residency, engines, _ = make(a={"costs": {"long": LONG}}, b={})
    serve(residency, "a", ["long", 1, 2], next_stage="b")
    residency._prefetching.join()
    assert engines["a"].batches == [2, 1]
    assert engines["b"].prefetches == 1


def test_interactive_requests_run_first_whatever_the_bulk_costs() -> None:
    given, run, engine = in_groups(["hurried", 1, 2, "late"], {"hurried": LONG, "late": LONG})
    served = run(interactive={0}, interactive_go_on=False, may_put_off=True)
    assert [place for place, *_ in given.all] == [0, 1, 2, 3]
    assert engine.batches == [1, 2, 1]
    assert (served.yielded, served.put_off) == ([], [])


def test_bulk_that_would_delay_the_next_stage_of_an_interactive_job_is_given_back() -> None:
    given, run, engine = in_groups(["long", "hurried", 1], {"long": 10 * LONG})
    engine.run = lambda batch: after(0.02, batch)
    served = run(interactive={1}, may_put_off=True)
    assert [place for place, *_ in given.all] == [1, 2]  # 0.02 s are no delay, 1.6 s are
    assert (served.yielded, served.put_off) == ([0], [])


def test_a_caller_that_takes_nothing_back_gets_every_answer() -> None:
    _, run, _ = in_groups(["long", "hurried", 1], {"long": 1000 * LONG})
    assert len(run(interactive={1}).answers) == 3


def test_between_two_groups_the_rest_gives_way_and_is_not_even_prepared() -> None:
    given, run, engine = in_groups(["long", "longer", 1, 2], {"long": LONG, "longer": 3 * LONG})
    served = run(gives_way=lambda: bool(given.all))
    assert [place for place, *_ in given.all] == [2, 3]
    assert served.yielded == [0, 1]
    assert engine.batches == [2]


def test_between_two_steps_of_a_group_the_rest_gives_way() -> None:
    pace = Pace()
    pace.learn(8, 8.0, 3.2)  # 0.4 s each, in a step of any size
    given, run, engine = in_groups(list(range(8)), {})
    served = run(gives_way=lambda: bool(given.all), pace=pace)
    assert engine.batches == [2]
    assert served.yielded == [2, 3, 4, 5, 6, 7]


def test_every_take_answers_something_however_long_interactive_jobs_wait() -> None:
    given, run, _ = in_groups(["long", 1], {"long": LONG})
    served = run(gives_way=lambda: True)
    assert [place for place, *_ in given.all] == [1]
    assert served.yielded == [0]


def test_what_ran_in_parts_is_no_measurement() -> None:
    pace = Pace()
    _, run, engine = in_groups(list(range(4)), {}, fail_above=2)
    run(pace=pace)
    assert engine.batches == [4, 2, 2]
    assert pace.estimate_s([1.0]) is None


def test_of_a_pilots_take_only_the_cheapest_runs_and_the_rest_is_not_even_prepared() -> None:
    given, run, engine = in_groups(["long", 1, 2, "longer"], {"long": LONG, "longer": 3 * LONG})
    served = run(pilot=True, may_put_off=True)
    assert [place for place, *_ in given.all] == [1]
    assert sorted(served.yielded) == [0, 2, 3]
    assert (engine.batches, served.put_off) == ([1], [])


def test_there_is_no_pilot_beside_an_interactive_request() -> None:
    given, run, _ = in_groups([1, "hurried", 2], {})
    run(pilot=True, interactive={1}, interactive_go_on=False, may_put_off=True)
    assert [place for place, *_ in given.all] == [1, 0, 2]


def test_no_more_run_at_once_than_the_batch_size() -> None:
    _, run, engine = in_groups(list(range(7)), {})
    run(at_once=3)
    assert engine.batches == [3, 3, 1]
