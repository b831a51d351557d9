"""Ids of requests: the same request of the same owner within minutes finds its job, and nobody else's does."""

from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.doors.intake.identity import (
    TRIES_MOST,
    WINDOW_S,
    Found,
    Search,
    key_id,
    request_digest,
    request_ids,
    window_of,
)
from golem_chain.shared.records import JobOptions

SALT = b"s" * 32


def search(states, owner="anna", digest="d", window=7, salt=SALT):
    """Return what a search finds among jobs with these states, and how often it asked."""
    one, asked = Search(salt, owner, digest, window), 0
    while one.ids:
        asked += 1
        one.tell([states.get(id) for id in one.ids])
    return one.found, asked


def ids(window, owner="anna", digest="d", salt=SALT):
    return list(request_ids(salt, owner, digest, window))


def test_a_request_that_nobody_has_made_gets_the_first_id_of_its_window_after_one_question():
    assert search({}) == (Found(ids(7)[0], known=False), 1)


def test_a_job_that_runs_or_is_done_is_found_in_the_windows_beside_too():
    for window in (6, 7, 8):
        for state in ("waiting", "done"):
            assert search({ids(window)[0]: state}) == (Found(ids(window)[0], known=True), 1)
    assert not search({ids(5)[0]: "done"})[0].known
    assert not search({ids(9)[0]: "done"})[0].known


def test_a_job_that_ended_badly_is_followed_by_the_next_try():
    first, second, third, *_ = ids(7)
    for state in ("failed", "cancelled", "expired"):
        assert search({first: state}) == (Found(second, known=False), 2)
        assert search({first: state, second: "waiting"}) == (Found(second, known=True), 2)
        assert search({first: state, second: state}) == (Found(third, known=False), 3)


def test_the_second_try_of_the_window_before_is_found():
    first, second, *_ = ids(6)
    assert search({first: "failed", second: "waiting"}) == (Found(second, known=True), 2)
    assert search({first: "failed", second: "failed"}) == (Found(ids(7)[0], known=False), 3)


def test_a_request_that_always_fails_ends_the_search():
    assert search(dict.fromkeys(ids(7), "failed")) == (None, TRIES_MOST)


def test_owner_request_window_and_secret_each_make_another_id():
    made = [*ids(7), *ids(8), *ids(7, owner="bert"), *ids(7, digest="e"), *ids(7, salt=b"t" * 32)]
    assert len(set(made)) == 5 * TRIES_MOST
    assert all(len(id) == 40 and id.isalnum() for id in made)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_no_two_owners_share_the_id_of_a_key(one, other):
    assert (key_id(SALT, *one) == key_id(SALT, *other)) == (one == other)


def test_the_id_of_a_key_is_none_of_a_request():
    assert key_id(SALT, "anna", "d") not in ids(7)


def test_how_a_job_is_treated_is_a_part_of_its_request():
    options = JobOptions()
    changed: list[dict[str, object]] = [
        {},
        {"lane": "interactive"},
        {"group": "g"},
        {"expires_s": 9.0},
        {"webhook": "https://a"},
    ]
    made = [request_digest("d", options.model_copy(update=one)) for one in changed]
    assert len({*made, request_digest("e", options)}) == 6
    assert made[0] == request_digest("d", JobOptions(labels=None))


def test_a_window_lasts_five_minutes():
    assert WINDOW_S == 300
    assert [window_of(seconds) for seconds in (0.0, 299.9, 300.0)] == [0, 0, 1]
