"""A job goes ahead of a backlog on a real worker, and costs the others no delivery."""

from collections.abc import Iterator

import pytest

from golem_chain.broker.local import embedded
from golem_chain.broker.queues import STAGES
from tests.support.fleet import Fleet


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.Server]:
    with embedded.start() as running:
        yield running


def test_the_first_job_of_a_backlog_is_answered_before_the_second_one_is_heard(fleet: Fleet) -> None:
    jobs = [f"j{n}" for n in range(30)]
    fleet.submit(jobs)
    fleet.box()
    fleet.done(jobs)
    batches = [(event["stage"], event["jobs"]) for event in fleet.log("batch")]
    assert batches[:3] == [(stage, ["j0"]) for stage in STAGES]
    heard = [one for stage, batch in batches[3:] if stage == "scribe" for one in batch]
    assert heard == jobs[1:], "those that were given back are first in line, in their order, and not alone"
    assert [len(batch) for stage, batch in batches[3:] if stage == "scribe"] == [8, 8, 8, 5]
    fleet.settled()


def test_for_throughput_there_is_none(fleet: Fleet) -> None:
    jobs = [f"j{n}" for n in range(30)]
    fleet.submit(jobs)
    fleet.box(prefer="throughput")
    fleet.done(jobs)
    assert next(event["jobs"] for event in fleet.log("batch")) == jobs[:8]
    fleet.settled()
