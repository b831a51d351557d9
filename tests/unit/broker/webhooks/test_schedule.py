"""What follows a try: successes, steps, Retry-After, the end, and how many tries an origin may have."""

from itertools import pairwise

import pytest

from golem_chain.broker.webhooks.schedule import (
    JITTER,
    PER_KIND,
    PER_NEW,
    PER_ORIGIN,
    RETRY_AFTER_MOST_S,
    SLOTS,
    STEPS_S,
    Answer,
    Verdict,
    retry_after,
    room,
    verdict,
)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_success(status):
    assert verdict(Answer(status), 0, 0.5) == Verdict("delivered")


@pytest.mark.parametrize("answer", [*map(Answer, (103, 300, 307, 308, 400, 404, 429, 500, 502)), Answer(error="broke")])
def test_anything_else_is_tried_again_until_no_step_is_left(answer):
    assert [verdict(answer, failed, 0.0).delay_s for failed in range(len(STEPS_S))] == list(STEPS_S)
    last = verdict(answer, len(STEPS_S), 0.0)
    assert (last.move, last.why.endswith("8 tries have failed")) == ("dead", True)


def test_the_steps_grow_and_last_a_day_and_a_half_at_most():
    assert all(one < next for one, next in pairwise(STEPS_S))
    assert 24 * 3600 < sum(STEPS_S) < sum(STEPS_S) * (1 + JITTER) < 40 * 3600


def test_the_jitter_makes_a_delay_longer_and_never_shorter():
    assert verdict(Answer(500), 1, 1.0).delay_s == STEPS_S[1] * (1 + JITTER)
    assert STEPS_S[1] < verdict(Answer(500), 1, 0.5).delay_s < STEPS_S[1] * (1 + JITTER)


def test_410_ends_the_tries_at_once():
    assert verdict(Answer(410), 0, 0.0) == Verdict("dead", why="answered 410 (Gone)")


@pytest.mark.parametrize(
    ("asked_s", "delay_s"),
    [(None, 5), (0, 5), (1, 5), (60, 60), (10**9, RETRY_AFTER_MOST_S)],
)
def test_retry_after_makes_a_delay_longer_within_bounds(asked_s, delay_s):
    assert verdict(Answer(503, retry_after_s=asked_s), 0, 0.0).delay_s == delay_s


def test_a_receiver_cannot_prolong_the_tries_without_end():
    answer, waited_s, failed = Answer(503, retry_after_s=1e12), 0.0, 0
    while (found := verdict(answer, failed, 1.0)).move == "later":
        waited_s, failed = waited_s + found.delay_s, failed + 1
    assert waited_s < 5 * 24 * 3600


NOON, LATER = "Fri, 01 Jan 2027 12:00:00 GMT", "Fri, 01 Jan 2027 12:01:30 GMT"


@pytest.mark.parametrize(
    ("header", "date", "seconds"),
    [
        (None, NOON, None),
        ("120", None, 120.0),
        (" 7 ", None, 7.0),
        (LATER, NOON, 90.0),
        (NOON, LATER, 0.0),
        ("-5", None, None),
        ("soon", NOON, None),
        ("٣", None, None),
        ("", None, None),
        ("9" * 5000, None, 999999999.0),
        ("Fri, 99 Jan 2027 99:00:00 GMT", NOON, None),
        (LATER, "yesterday", None),
    ],
)
def test_retry_after_is_a_number_or_a_time_by_the_receivers_own_clock(header, date, seconds):
    assert retry_after(header, date) == seconds


def test_an_origin_that_is_new_or_silent_gets_one_try_at_a_time_and_one_that_answers_more():
    found = room({"a": 3, "b": PER_ORIGIN, "c": 1}, ["a", "b", "d"]).origins
    assert found == {"a": PER_ORIGIN - 3, "b": 0, "d": PER_ORIGIN, "c": PER_NEW - 1}


def test_origins_that_hang_leave_slots_for_those_that_answer_and_the_other_way_round():
    hanging = {f"h{n}": 1 for n in range(PER_KIND)}
    assert room(hanging, ["a"])[:3] == (SLOTS - PER_KIND, PER_KIND, 0)
    busy = {f"a{n}": PER_ORIGIN for n in range(PER_KIND // PER_ORIGIN)}
    assert room(busy, list(busy))[:3] == (SLOTS - PER_KIND, 0, PER_KIND)
    assert room(hanging | {"x": 100}, [])[:3] == (0, PER_KIND, 0), "never less than none"


def test_a_redirect_is_told_as_what_it_is():
    assert "redirects are not followed" in verdict(Answer(308), 0, 0.0).why
