"""An Oracle that streams, on a real worker: what was given out is final, and what comes back has lost nothing."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from golem_chain.broker.local import embedded
from tests.support.fleet import Fleet, descendants, lives


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.Server]:
    with embedded.start() as running:
        yield running


def ends(fleet: Fleet) -> list[str]:
    return [event["job"] for event in fleet.log("end", stage="oracle")]


def streaming(fleet: Fleet, jobs: list[str], **given: Any) -> int:
    """Start a box that answers one of eight jobs after the other, two at once; return its process once one is done."""
    fleet.submit(jobs)
    box = fleet.box(STREAM_S=0.4, **{"batch": "scribe=8,interpreter=8,oracle=2", "prefer": "throughput"} | given)
    fleet.until(lambda: fleet.state(jobs[0]) == "SUCCESS")
    return box.pid


JOBS = [f"j{n}" for n in range(8)]


def test_each_answer_is_stored_while_others_run_and_what_waits_takes_its_place(fleet: Fleet) -> None:
    streaming(fleet, JOBS)
    assert fleet.state(JOBS[-1]) is None
    fleet.done(JOBS)
    assert ends(fleet) == JOBS
    assert [event["jobs"] for event in fleet.log("batch", stage="oracle")] == [JOBS[:2]]
    assert [event["jobs"] for event in fleet.log("begun")] == [[job] for job in JOBS[2:]]
    fleet.settled()


def test_a_kill_in_mid_stream_costs_only_the_rows_that_were_running(fleet: Fleet) -> None:
    box = streaming(fleet, JOBS)
    os.kill(descendants(box)[0], signal.SIGKILL)
    fleet.done(JOBS)
    counted = Counter(ends(fleet))
    assert counted[JOBS[0]] == 1, "what was given out is final"
    assert set(counted) == set(JOBS)
    assert sum(counted.values()) <= len(JOBS) + 2, "no row but the two that were running began again"
    fleet.settled()


def test_a_cancelled_job_is_dropped_from_the_stream_and_the_others_are_answered(fleet: Fleet) -> None:
    streaming(fleet, JOBS)
    fleet.pipeline.cancel(JOBS[-1])
    fleet.done(JOBS[:-1])
    outcome = fleet.pipeline._outcomes.get(JOBS[-1])
    assert outcome is not None
    assert outcome.state == "cancelled"
    assert JOBS[-1] not in ends(fleet)
    assert ends(fleet)[0] == JOBS[0]
    assert ends(fleet).count(JOBS[0]) == 1
    fleet.settled()


def test_an_interactive_job_that_comes_in_mid_stream_is_answered_before_what_had_not_begun(fleet: Fleet) -> None:
    jobs = [f"j{n}" for n in range(16)]
    streaming(fleet, jobs, batch="scribe=16,interpreter=16,oracle=4")
    fleet.pipeline.submit(b"hurried", id="hurried", lane="interactive")
    fleet.done(["hurried", *jobs])
    order = ends(fleet)
    assert order.index("hurried") < 10, "it waited for the rows that were running, not for the take"
    assert Counter(order).most_common(1)[0][1] <= 2
    fleet.settled()


def test_a_worker_that_stops_finishes_its_rows_and_hands_back_what_had_not_begun(fleet: Fleet) -> None:
    box = streaming(fleet, JOBS, stop_s=60)
    os.kill(box, signal.SIGTERM)
    fleet.until(lambda: not lives(box))
    done = ends(fleet)
    assert len(done) < len(JOBS)
    assert [fleet.state(job) for job in JOBS[: len(done)]] == ["SUCCESS"] * len(done)
    waiting = fleet.redis.llen(fleet.keys.queue("oracle"))
    assert waiting == len(JOBS) - len(done)
    assert set(fleet.redis.hvals(fleet.keys.deliveries)) == {b"0"}, "none of them counts as delivered"
    fleet.box("other", STREAM_S=0.01)
    fleet.done(JOBS)
    assert Counter(ends(fleet)) == Counter(JOBS)
    fleet.settled()
