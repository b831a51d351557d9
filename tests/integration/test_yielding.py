"""A worker that is busy with bulk gives way to interactive jobs, and loses, delays and blames nothing."""

from collections.abc import Iterator

import pytest

from golem_chain.broker.local import embedded
from tests.support.fleet import Fleet


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.Server]:
    with embedded.start() as running:
        yield running


def order_of_ends(fleet: Fleet) -> list[tuple[str, str]]:
    return [(event["stage"], event["job"]) for event in fleet.log("end")]


def test_an_interactive_job_ends_before_the_bulk_that_was_running_when_it_came(fleet: Fleet) -> None:
    bulk = [f"slow-{n}" for n in range(4)]
    fleet.submit(bulk)
    fleet.box(SLOW_S=4)  # in the interpreter, all four together
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    fleet.pipeline.submit(b"hurried", id="hurried", lane="interactive")
    fleet.done(["hurried", *bulk])
    ends = order_of_ends(fleet)
    assert ends.index(("oracle", "hurried")) < ends.index(("interpreter", bulk[0]))
    # given back together, in their order, not as messages that failed or take long; more than once if they were taken
    # again between two stages of the other
    batches = [event["jobs"] for event in fleet.log("batch", stage="interpreter")]
    assert batches.count(["hurried"]) == 1
    assert batches[0] == batches[-1] == bulk
    assert [jobs for jobs in batches if jobs != ["hurried"]] == [bulk] * (len(batches) - 1)
    assert not fleet.log("failed")
    fleet.settled()


def test_bulk_gets_on_however_many_interactive_jobs_come(fleet: Fleet) -> None:
    bulk, hurried = [f"slow-{n}" for n in range(2)], [f"hurried-{n}" for n in range(12)]
    fleet.submit(bulk)
    fleet.box(SLOW_S=1.5)
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    for job in hurried:  # one waits at any time, so that bulk is asked to give way in each of its steps
        fleet.pipeline.submit(job.encode(), id=job, lane="interactive")
        fleet.until(lambda job=job: fleet.log("end", stage="scribe", job=job))  # type: ignore[misc]  # a default binds
    fleet.done([*hurried, *bulk])
    ends = order_of_ends(fleet)
    assert ends.index(("interpreter", bulk[0])) < ends.index(("scribe", hurried[-1])), (
        "bulk waited for the last of them"
    )
    fleet.settled()
