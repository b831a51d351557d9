"""What a pilot gains and costs, simulated."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golem_chain.benchmarks.fleet.costs import MEASURED, SLEEPING, Costs
from golem_chain.benchmarks.fleet.simulation import Fleet
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import scheduler
from golem_chain.broker.transport.view import Move

ALL_MB, ONE_MB = 5000.0, 1.0


def lone_s(memory: float, costs: Costs) -> float:
    fleet = Fleet([memory], costs)
    return fleet.run([0.0]).first_s


def drained(memory: float, costs: Costs, jobs: int):
    return Fleet([memory], costs).run([0.0] * jobs)


@pytest.fixture
def without(monkeypatch):
    """Turns pilots off."""
    return lambda: monkeypatch.setattr(scheduler, "PILOTED_BATCHES", 10**9)


@pytest.mark.parametrize("memory", [ALL_MB, ONE_MB], ids=["all models", "one model"])
@pytest.mark.parametrize(("costs", "most"), [(MEASURED, 1.05), (SLEEPING, 1.1)], ids=["measured", "sleeping"])
def test_the_first_answer_of_a_hundred_jobs_takes_as_long_as_that_of_a_lone_job(memory, costs, most, without):
    first = drained(memory, costs, 100)
    assert first.first_s <= 1.1 * lone_s(memory, costs)
    without()
    before = drained(memory, costs, 100)
    assert first.ended_s <= most * before.ended_s
    assert len(first.loads) <= len(before.loads) + len(STAGES)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.sampled_from([ALL_MB, ONE_MB]), st.sampled_from([MEASURED, SLEEPING]))
def test_a_backlog_of_any_size_pays_at_most_for_one_lone_job(jobs, memory, costs):
    piloted = drained(memory, costs, jobs)
    whole = scheduler.PILOTED_BATCHES
    try:
        scheduler.PILOTED_BATCHES = 10**9
        before = drained(memory, costs, jobs)
    finally:
        scheduler.PILOTED_BATCHES = whole
    assert len(piloted.loads) <= len(before.loads) + len(STAGES) + 1
    assert piloted.ended_s <= before.ended_s + 1.5 * lone_s(memory, costs)


def test_each_backlog_has_one_pilot():
    fleet = Fleet([ALL_MB], SLEEPING)
    takes, ours = list[Move](), fleet._take

    def take(box, move):
        takes.append(move)
        ours(box, move)

    vars(fleet)["_take"] = take
    fleet.run([0.0] * 60 + [100.0] * 60)
    assert [move.queue for move in takes if move.pilot] == list(STAGES) * 2
    assert takes[0].pilot
