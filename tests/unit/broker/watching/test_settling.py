"""When a file has stopped growing."""

from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.watching.files import Signature
from golem_chain.broker.watching.settling import EMPTY_FACTOR, Settling


def test_a_file_is_taken_once_when_it_has_stayed_the_same():
    settling = Settling(2)
    settling.see("a", Signature(1, 1), 0.0)
    settling.see("a", Signature(2, 2), 1.5)
    assert settling.take(3.0) == {}
    settling.see("a", Signature(2, 2), 3.0)
    assert settling.take(3.5) == {"a": Signature(2, 2)}
    assert settling.take(9.0) == {}
    assert not len(settling)


def test_a_file_that_keeps_its_size_but_not_its_time_is_being_written():
    settling = Settling(2)
    for now in range(10):
        settling.see("a", Signature(5, now), now)
        assert settling.take(now) == {}


def test_an_empty_file_waits_longer():
    settling = Settling(2)
    settling.see("a", Signature(0, 1), 0.0)
    assert settling.take(2.0 * EMPTY_FACTOR - 0.1) == {}
    assert settling.take(2.0 * EMPTY_FACTOR) == {"a": Signature(0, 1)}


def test_a_file_that_is_gone_is_not_taken():
    settling = Settling(2)
    settling.see("a", Signature(1, 1), 0.0)
    settling.forget("a")
    settling.forget("b")
    assert settling.take(9.0) == {}


def test_only_files_that_grow_for_long_are_restless():
    settling = Settling(2)
    settling.see("a", Signature(1, 1), 0.0)
    settling.see("a", Signature(2, 2), 19.0)
    assert not settling.restless(20.0)
    assert settling.restless(20.1)
    settling.see("b", Signature(1, 1), 20.1)
    assert not settling.restless(20.1)


def test_a_file_that_nobody_looked_at_for_long_is_not_restless_but_settled():
    settling = Settling(2)
    settling.see("a", Signature(1, 1), 0.0)
    assert not settling.restless(60.0)
    assert settling.take(60.0) == {"a": Signature(1, 1)}


@given(st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 2)), min_size=1, max_size=50))
def test_nothing_is_taken_that_changed_within_the_time(steps):
    settling, now, changed, last = Settling(2), 0.0, 0.0, None
    for step, size in steps:
        now += step
        seen = Signature(size + 1, 0)
        if seen != last:
            last, changed = seen, now
        settling.see("a", seen, now)
        if settling.take(now):
            assert now - changed >= 2
            last = None
