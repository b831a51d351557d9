"""The checks of groups and deadlines find each contradiction, and nothing else."""

import pytest

from golem_chain.broker.jobs.groups import GroupStatus
from golem_chain.shared.records import State
from tests.chaos.treatment import (
    CANCELLED,
    GROUPS,
    Counted,
    expires_s_of,
    has_webhook,
    late_runs,
    members,
    miscounted,
    mistold,
    treatment,
)

STATES: dict[str, State] = {"a": "done", "b": "failed", "c": "cancelled", "d": "expired", "e": "done"}
STATUS = GroupStatus(5, done=2, failed=1, cancelled=1, expired=1, at={"scribe": 0})
ENDS = list(STATES.items())


def test_a_group_that_counts_right_is_not_complained_about():
    assert list(miscounted(Counted(STATUS, ENDS[::-1]), STATES)) == []


WRONG = {
    "counts 6 jobs": Counted(STATUS._replace(jobs=6), ENDS),
    "counts 1 done": Counted(STATUS._replace(done=1), ENDS),
    "counts 2 expired": Counted(STATUS._replace(expired=2), ENDS),
    "though all jobs have ended": Counted(STATUS._replace(at={"scribe": -1}), ENDS),
    "the end of a 2 times": Counted(STATUS, [*ENDS, ("a", "done")]),
    "does not name the ends of ['b']": Counted(STATUS, [one for one in ENDS if one[0] != "b"]),
    "says that f is done": Counted(STATUS, [*ENDS, ("f", "done")]),
}


@pytest.mark.parametrize(("found", "counted"), WRONG.items(), ids=WRONG)
def test_each_contradiction_of_a_group_is_found(found, counted):
    [said] = miscounted(counted, STATES)
    assert found in said


def test_an_end_in_another_state_is_found():
    assert any(
        "says that a is failed" in said for said in miscounted(Counted(STATUS, [("a", "failed")]), {"a": "done"})
    )


def test_a_run_after_the_deadline_is_found_and_one_within_the_slack_is_not():
    runs = [(9, 10.4), (9, 12.6), (1, 99.0)]
    assert list(late_runs(runs, {9: 10.0}, slack_s=0.5)) == ["a model ran job 9 2.6 s after its deadline"]
    assert list(late_runs(runs, {9: 10.0}, slack_s=3.0)) == []


def test_a_storm_has_every_kind_of_treatment():
    treated = [treatment(n) for n in range(120)]
    assert {one["lane"] for one in treated} == {"interactive", "bulk"}
    assert len({one["expires_s"] for one in treated}) == 4
    assert len(members(120)) == GROUPS + 1
    for lane in ("interactive", "bulk"):
        assert any(one["expires_s"] and one["group"] for one in treated if one["lane"] == lane)
    assert CANCELLED in members(120)
    assert {state for n, state in enumerate(has_webhook(n) for n in range(120)) if expires_s_of(n)} == {True, False}


def test_a_webhook_that_is_told_twice_is_right_and_one_that_is_told_never_wrongly_or_in_vain_is_not():
    states: dict[str, State] = {"a": "done", "b": "failed"}
    right = [("a", "job.done"), ("b", "job.failed"), ("a", "job.done")]
    assert list(mistold(right, states)) == []
    assert list(mistold(right[:1], states)) == ["the webhook of b was never told"]
    assert list(mistold([*right, ("c", "job.done")], states)) == ["a webhook was told of c, which has none"]
    [said] = mistold([*right, ("b", "job.done")], states)
    assert said == "the webhook of b was told job.done, and its Outcome is failed"
