"""The watch interrupts exactly the batches whose jobs have ended or give way, and only inside `breakable`."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from golem_chain.workers.child import lanes
from golem_chain.workers.child.cancellation import BrokenOff, GaveWay, Watch


class Ends:
    """The jobs that have ended; the next `away` polls fail."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.waiting = False
        self.away = self.looks = 0

    def looked_at(self, times: int) -> None:
        """Wait for this many more polls of the watch; it has acted on all of them but the last."""
        most = self.looks + times
        while self.looks < most:
            time.sleep(0.005)

    def __call__(self, jobs: Sequence[str]) -> set[str]:
        self.looks += 1
        if self.away:
            self.away -= 1
            raise redis.ConnectionError
        return self.jobs & set(jobs)


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def watch(ends: Ends) -> Watch:
    return Watch(ends, lambda: ends.waiting, every_s=0.02)


def test_a_batch_whose_job_has_ended_is_broken_off_although_redis_was_away(watch: Watch, ends: Ends) -> None:
    ends.jobs, ends.away = {"b"}, 2
    start = time.monotonic()
    with pytest.raises(BrokenOff), watch.watching(["a", "b"]), watch.breakable():
        time.sleep(120)
    assert time.monotonic() - start < 60
    with watch.watching(["a"]), watch.breakable():
        ends.looked_at(4)  # the other jobs are not interrupted


def test_what_is_not_breakable_is_left_to_its_end_and_what_follows_is_broken_off(watch: Watch, ends: Ends) -> None:
    ends.jobs, steps = {"a"}, []

    def work() -> None:
        with watch.watching(["a"]):
            ends.looked_at(2)
            steps.append("loaded")
            with watch.breakable():
                time.sleep(120)
            steps.append("ran")

    with pytest.raises(BrokenOff):
        work()
    assert steps == ["loaded"]
    time.sleep(0.1)  # five polls: no late signal


def test_what_is_prepared_is_interrupted_only_where_it_asks(watch: Watch, ends: Ends) -> None:
    ends.jobs, steps = {"a"}, []

    def work() -> None:
        with watch.watching(["a"]), watch.polled():
            ends.looked_at(3)
            steps.append("a block, whole")
            watch.poll()
            steps.append("the next one")

    with pytest.raises(BrokenOff):
        work()
    assert steps == ["a block, whole"]


def test_a_poll_interrupts_nothing_else(watch: Watch, ends: Ends) -> None:
    with watch.watching(["a"]):
        with watch.polled():
            watch.poll()  # nothing has happened
        ends.jobs = {"a"}
        ends.looked_at(3)
        watch.poll()  # nothing is being prepared
    watch.poll()


def test_what_is_prepared_gives_way_if_bulk_can_afford_to_lose_it(
    watch: Watch, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.waiting, affords = True, [False, True]
    monkeypatch.setattr(lanes, "affords", lambda step_s, lost_s, computed_s: affords.pop(0))

    def work() -> None:
        with watch.watching(["a"], may_yield=True), watch.polled():
            ends.looked_at(3)
            watch.poll()
            watch.poll()

    with pytest.raises(GaveWay):
        work()
    assert affords == []


def test_an_engine_that_catches_every_exception_is_broken_off_all_the_same(watch: Watch, ends: Ends) -> None:
    ends.jobs = {"a"}

    def run() -> None:
        for _ in range(120):
            try:
                time.sleep(1)
            except Exception:
                continue

    with pytest.raises(BrokenOff), watch.watching(["a"]), watch.breakable():
        run()


def test_outside_of_the_main_thread_nothing_is_watched(watch: Watch, ends: Ends) -> None:
    ends.jobs, done = {"a"}, []

    def work() -> None:
        with watch.watching(["a"]), watch.breakable():
            time.sleep(0.1)  # time for five polls, if there were any
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_the_end_of_a_job_whose_answer_is_ready_interrupts_no_other(watch: Watch, ends: Ends) -> None:
    with watch.watching(["a", "b"]):
        watch.leave("a")
        ends.jobs = {"a"}
        with watch.breakable():
            ends.looked_at(4)
        ends.jobs = {"b"}
        with pytest.raises(BrokenOff), watch.breakable():
            time.sleep(120)


def test_a_step_that_bulk_can_afford_to_lose_is_broken_off_for_an_interactive_job(watch: Watch, ends: Ends) -> None:
    ends.waiting = True
    start = time.monotonic()
    with pytest.raises(GaveWay), watch.watching(["a"], may_yield=True), watch.breakable():
        time.sleep(120)
    assert time.monotonic() - start < 60


def test_a_step_that_bulk_cannot_afford_to_lose_gives_way_at_its_end(
    watch: Watch, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "affords", lambda step_s, lost_s, computed_s: False)
    ends.waiting, steps = True, []

    def work() -> None:
        with watch.watching(["a"], may_yield=True), watch.breakable():
            ends.looked_at(4)
            steps.append("done")
            watch.step()
            steps.append("next")

    with pytest.raises(GaveWay):
        work()
    assert steps == ["done"]


@pytest.mark.parametrize(
    "given",
    [{}, {"interactive": ["a"], "may_yield": True}],
    ids=["the caller takes nothing back", "interactive itself"],
)
def test_what_does_not_give_way_is_left_alone(watch: Watch, ends: Ends, given: dict[str, Any]) -> None:
    ends.waiting = True
    with watch.watching(["a", "b"], **given), watch.breakable():
        ends.looked_at(4)
        watch.step()
        assert not watch.gives_way()


def test_bulk_gives_way_once_the_interactive_jobs_of_its_take_have_their_answers(watch: Watch, ends: Ends) -> None:
    ends.waiting = True
    with watch.watching(["a", "b"], ["a"], may_yield=True):
        ends.looked_at(3)
        assert not watch.gives_way()
        watch.leave("a")
        assert watch.gives_way()


def test_when_another_box_has_taken_the_interactive_job_the_batch_goes_on(watch: Watch, ends: Ends) -> None:
    with watch.watching(["a"], may_yield=True):
        ends.waiting = True
        ends.looked_at(3)
        assert watch.gives_way()
        ends.waiting = False
        ends.looked_at(3)
        assert not watch.gives_way()


@pytest.mark.parametrize("jobs_per_s", [0.1, 1.0, 10.0])
def test_steps_that_were_broken_off_cost_bulk_a_twentieth_of_its_time(jobs_per_s: float) -> None:
    now, lost, computed, step = 0.0, 0.0, 0.0, 0.0
    while now < 3600:
        now, step, computed = now + 0.1, step + 0.1, computed + 0.1
        waits = now % (1 / jobs_per_s) < 0.1
        if waits and lanes.affords(step, lost, computed):
            lost, step = lost + step, 0.0
        if step >= 3.0:
            step = 0.0
    assert 0 < lost <= lanes.CREDIT_S + lanes.LOST_SHARE * 3600


def test_a_take_with_an_interactive_job_gives_way_to_nobody() -> None:
    assert lanes.yields(["bulk", "bulk"], waiting=True)
    assert not lanes.yields(["bulk", "interactive"], waiting=True)
    assert not lanes.yields(["bulk"], waiting=False)


def test_an_answer_given_out_in_the_middle_of_a_run_is_written_whole(watch: Watch, ends: Ends) -> None:
    ends.jobs, steps = {"b"}, []

    def work() -> None:
        with watch.watching(["a", "b"]), watch.breakable():
            with watch.whole(0.0):
                ends.looked_at(3)
                steps.append("written")
            time.sleep(120)
            steps.append("ran")

    with pytest.raises(BrokenOff):
        work()
    assert steps == ["written"]


def test_what_the_rows_have_computed_counts_as_lost_and_what_was_given_does_not(
    watch: Watch, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = [0.0], []

    def affords(step_s: float, lost_s: float, computed_s: float) -> bool:
        asked.append((step_s, lost_s, computed_s))
        return True

    monkeypatch.setattr(lanes, "affords", affords)
    timed = Watch(ends, lambda: ends.waiting, every_s=0.02, clock=lambda: now[0])
    ends.waiting = True

    def work() -> None:
        with timed.watching(["a", "b"], may_yield=True), timed.breakable():
            now[0] = 5.0
            with timed.whole(1.5):
                timed.leave("a")
            now[0] = 5.5
            time.sleep(120)

    with pytest.raises(GaveWay):
        work()
    assert asked == [(2.0, 0.0, 5.0)]
