"""The watch interrupts exactly the batches whose jobs have ended, and only inside `breakable`."""

import threading
import time
from collections.abc import Sequence

import pytest
import redis

from golem_chain.workers.child.cancellation import BrokenOff, Watch


class Ends:
    """The jobs that have ended; the next `away` polls fail."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
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
    return Watch(ends, every_s=0.02)


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
