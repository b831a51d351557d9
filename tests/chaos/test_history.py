"""The check of a history finds each broken promise, and nothing else."""

import pytest

from golem_chain.shared.records import Outcome
from tests.chaos.history import AWAY, UNKNOWN, Event, violations

DONE = Outcome(job="a", name="x", state="done")
CANCELLED = Outcome(job="a", name="x", state="cancelled")


def history(*told, job="a"):
    """Return Events of (client, what, told), one after another, each with a second of its own."""
    return [Event(client, what, job, said, n, n + 0.5) for n, (client, what, said) in enumerate(told)]


SUBMIT, READ = ("p", "submit", None), ("r", "read", DONE)
KEPT = {
    "a job that ends": (SUBMIT, ("r", "read", None), ("r", "announced", None), READ, READ),
    "a job submitted twice, once in vain": (("p", "submit", AWAY), SUBMIT, ("q", "submit", None), READ),
    "a cancel": (SUBMIT, ("c", "cancel", AWAY), ("c", "cancel", CANCELLED), ("r", "read", CANCELLED)),
    "a cancel that was too late": (SUBMIT, ("c", "cancel", DONE), READ),
    "a cancel before the submit": (("c", "cancel", UNKNOWN), SUBMIT, READ),
    "two waiters": (
        SUBMIT,
        *((w, what, DONE if what == "waited" else None) for w in "vw" for what in ("asked", "waited")),
    ),
    "a submit that was refused": (("p", "submit", AWAY),),
}
BROKEN = {
    "did not end": (SUBMIT, ("r", "read", None)),
    "has no Outcome": (("r", "announced", None),),
    "then r was told": (SUBMIT, ("c", "cancel", CANCELLED), READ),
    "then s was told": (SUBMIT, READ, ("s", "waited", DONE.model_copy(update={"name": "y"})), ("s", "asked", None)),
    "announced 2 times": (SUBMIT, ("e", "announced", None), READ, ("e", "announced", None)),
    "nobody asked": (SUBMIT, ("r", "read", CANCELLED)),
    "that it is unfinished": (SUBMIT, READ, ("s", "read", None)),
    "unfinished, after its end": (SUBMIT, ("e", "announced", None), ("s", "read", None), READ),
    "no such job": (SUBMIT, ("s", "read", UNKNOWN), READ),
    "given it 0 times": (SUBMIT, READ, ("w", "asked", None)),
    "given it 2 times": (SUBMIT, ("w", "asked", None), ("w", "waited", DONE), ("w", "waited", DONE)),
}


@pytest.mark.parametrize("told", KEPT.values(), ids=KEPT)
def test_a_history_that_keeps_the_promises_has_no_violation(told):
    assert violations(history(*told)) == []


@pytest.mark.parametrize(("found", "told"), BROKEN.items(), ids=BROKEN)
def test_each_broken_promise_is_found(found, told):
    [said] = violations(history(*told))
    assert said.startswith("a: ")
    assert found in said


def test_a_read_that_began_before_the_end_may_say_that_the_job_is_unfinished():
    early = Event("s", "read", "a", None, 0.5, 9.0)
    assert violations([*history(SUBMIT, READ), early]) == []


def test_jobs_are_judged_apart():
    other = Outcome(job="b", name="x", state="failed")
    assert violations([*history(SUBMIT, READ), *history(SUBMIT, ("r", "read", other), job="b")]) == []
