"""Which waiting items take free slots: a pure decision."""

from collections.abc import Sequence

from golem_chain.workers.stages.oracle.queue import Queue


def queue(batch: Sequence[str], later: list[str]) -> tuple[Queue[str], list[int]]:
    """Items are words: their kind is the first letter, their width the length. Also what was asked for."""
    asked = list[int]()

    def more(free: int) -> list[str]:
        asked.append(free)
        taken = later[:free]
        del later[:free]
        return taken

    return Queue(batch, more, lambda word: word[0], len), asked


def test_items_of_the_first_ones_kind_begin_together_as_many_as_fit() -> None:
    waiting, asked = queue(["a", "bb", "aaa", "aa"], ["aaaa", "a"])
    assert waiting.begin(3, lambda words: sum(map(len, words)) <= 4) == ["a", "aaa"]
    assert waiting.begin(3, lambda words: False) == ["a"], "one always begins"
    assert asked == [], "more wait than there are slots"
    assert queue([], [])[0].begin(4, lambda words: True) == []


def test_what_waits_is_taken_in_order_with_its_place_and_more_is_asked_for() -> None:
    waiting, asked = queue(["a", "aa"], ["aaa", "a", "aa"])
    assert waiting.begin(3, lambda words: True) == ["a", "aa", "aaa"]
    assert waiting.take(3, 3) == [(0, "a"), (1, "aa"), (2, "aaa")]
    assert waiting.take(1, 3) == [(3, "a")]
    assert waiting.take(2, 3) == [(4, "aa")]
    assert waiting.take(2, 3) == []
    assert asked == [1, 1, 2, 2]


def test_an_item_that_cannot_run_now_keeps_others_from_passing_it_for_ever() -> None:
    waiting, asked = queue(["a"], ["bb", "a", "a"])
    assert waiting.begin(1, lambda words: True) == ["a"]
    assert waiting.take(1, 1) == [(0, "a")]
    assert waiting.take(1, 1) == []
    assert waiting.take(1, 1) == []
    assert asked == [1], "none is asked for while it waits"
    assert waiting.begin(1, lambda words: True) == ["bb"]
    assert waiting.take(2, 2) == [(1, "bb")]


def test_an_item_that_is_too_wide_waits_for_slots_of_its_own() -> None:
    waiting, _ = queue(["a", "aa", "aaaaa", "aa"], [])
    assert waiting.begin(2, lambda words: True) == ["a", "aa"]
    assert waiting.take(2, 2) == [(0, "a"), (1, "aa")]
    assert waiting.take(2, 2) == [(3, "aa")], "one that was there already may pass"
    assert waiting.begin(2, lambda words: True) == ["aaaaa"]
