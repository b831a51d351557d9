"""A child is overdue by the length of its audio where that is known, by its last sign of life where it is not."""

import os

import pytest

from golem_chain.workers.child.lifeline import Lifeline, allowed_s


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def line(clock: Clock) -> Lifeline:
    return Lifeline(120, 4, clock)


def test_a_step_may_take_the_limit_and_a_share_for_each_second_of_audio() -> None:
    assert allowed_s(120, 4, None) == allowed_s(120, 4, 0) == 120
    assert allowed_s(120, 4, 60) == 360


def test_each_sign_of_life_starts_the_time_again_while_the_length_is_not_known(line: Lifeline, clock: Clock) -> None:
    for _ in range(100):  # decodes for three hours
        line.alive()
        clock.now += 119
        assert line.overdue(os.getpid()) is None
    clock.now += 2
    assert line.overdue(os.getpid()) == 120


def test_a_run_of_known_length_has_the_time_for_it(line: Lifeline, clock: Clock) -> None:
    line.alive(60)
    clock.now += 360
    assert line.overdue(os.getpid()) is None
    clock.now += 1
    assert line.overdue(os.getpid()) == 360


def test_what_waits_for_redis_is_never_overdue(line: Lifeline, clock: Clock) -> None:
    line.alive()
    line.rest()
    clock.now += 1e6
    assert line.overdue(os.getpid()) is None


def test_a_forked_child_learns_that_the_worker_stops(line: Lifeline) -> None:
    assert not line.stops
    line.alive()
    line.leave_words("x" * 1000)
    assert not line.stops
    line.stop()
    assert line.stops


def test_a_dead_child_leaves_nothing_to_the_next(line: Lifeline, clock: Clock) -> None:
    line.alive()
    clock.now += 1e6
    assert line.overdue(os.getpid() + 1) is None


def test_the_parent_sees_the_signs_of_a_forked_child(line: Lifeline, clock: Clock) -> None:
    child = os.fork()
    if child == 0:
        line.alive()
        os._exit(0)
    os.waitpid(child, 0)
    clock.now += 121
    assert line.overdue(child) == 120
