"""Messages that were taken together run together and end one by one."""

import json
import os
import signal
from collections.abc import Iterator

import pytest
from road import Road, descendants

from golem_chain.broker.local import embedded
from golem_chain.broker.queues import STAGES


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.Server]:
    with embedded.start() as running:
        yield running


def test_eight_messages_become_one_call_and_end_each_by_itself(road: Road) -> None:
    jobs = [f"j{n}" for n in range(8)]
    road.submit(jobs)
    road.box()
    road.done(jobs)
    assert [event["jobs"] for event in road.log("batch")] == [jobs] * 3
    road.settled()


def test_a_bad_item_fails_alone_and_the_rest_of_its_chain_is_not_run(road: Road) -> None:
    jobs = [f"j{n}" for n in range(7)]
    road.submit([*jobs[:3], "bad", *jobs[3:]])
    road.box()
    road.done(jobs)
    road.until(lambda: road.log("failed"))
    assert road.state("bad", "interpreter") == "FAILURE"
    assert [event["id"] for event in road.log("failed")] == ["bad.interpreter"]
    assert not road.log("end", stage="oracle", job="bad")
    road.settled()


def test_a_batch_that_fails_as_a_whole_is_split_and_the_guilty_one_fails_alone(road: Road) -> None:
    jobs = [f"j{n}" for n in range(4)]
    road.submit([*jobs, "boom"])
    road.box()
    road.done(jobs)
    road.until(lambda: road.state("boom", "interpreter") == "FAILURE")
    sizes = [len(event["jobs"]) for event in road.log("batch", stage="interpreter")]
    assert sizes == [5, 1, 1, 1, 1, 1]
    road.settled()


def test_a_retryable_error_is_tried_again_and_succeeds(road: Road) -> None:
    road.submit(["retry", "j"])
    road.box()
    road.done(["retry", "j"])
    assert len(road.log("end", stage="interpreter", job="retry")) == 3
    assert len(road.log("end", stage="interpreter", job="j")) == 1
    road.settled()


def test_the_same_task_twice_in_one_batch_runs_once(road: Road) -> None:
    road.submit(["twin", "twin", "j"])
    road.box()
    road.done(["twin", "j"])
    road.settled()
    assert len(road.log("end", job="twin")) == 3
    road.submit(["twin"])  # and not again later: its success is stored
    road.settled()
    assert len(road.log("end", job="twin")) == 3


def test_a_killed_child_loses_nothing_and_what_it_had_runs_alone(road: Road) -> None:
    jobs = ["slow", *(f"j{n}" for n in range(7))]
    box = road.box(SLOW_S=0.5)
    road.submit(jobs)
    road.until(lambda: road.log("batch", stage="interpreter"))
    os.kill(descendants(box.pid)[0], signal.SIGKILL)
    back = road.until(lambda: len(road.log("batch", stage="interpreter")) > 1)
    print(f"back at work {back:.2f} s after the death of the child")
    assert back < 3
    road.done(jobs)
    later = road.log("batch", stage="interpreter")[1:]
    assert all(len(event["jobs"]) == 1 for event in later[:7])
    assert len(road.log("end", stage="oracle")) == 8
    road.settled()


def test_a_message_that_kills_its_worker_ends_as_failed_after_three_deliveries_and_spares_the_others(
    road: Road,
) -> None:
    jobs = [f"j{n}" for n in range(7)]
    road.submit([*jobs[:4], "poison", *jobs[4:]])
    road.box()
    road.done(jobs)
    road.until(lambda: road.log("failed"))
    assert road.state("poison", "interpreter") == "FAILURE"
    assert len([e for e in road.log("batch", stage="interpreter") if "poison" in e["jobs"]]) == 3
    (failed,) = road.log("failed")
    assert failed["id"] == "poison.interpreter"
    assert failed["error"] == "TooManyDeliveries"
    assert "signal 9" in failed["text"]
    (letter,) = map(json.loads, road.redis.lrange("golem:dead", 0, -1))
    assert (letter["why"], letter["queue"], letter["deliveries"]) == ("too-many-deliveries", "interpreter", 3)
    assert json.loads(letter["raw"])["headers"]["id"] == "poison.interpreter"
    road.settled()


def test_a_message_past_its_time_limit_fails_alone(road: Road) -> None:
    jobs = ["j0", "slow", "j1"]
    road.submit(jobs)
    road.box(time_limit_s=0.7, SLOW_S=30)
    road.done(["j0", "j1"])
    road.until(lambda: road.log("failed"))
    assert road.state("slow", "interpreter") == "FAILURE"
    (failed,) = road.log("failed")
    assert (failed["id"], failed["error"]) == ("slow.interpreter", "TimeLimit")
    road.settled()


def test_a_backlog_of_sixty_chains_costs_three_loads(road: Road) -> None:
    jobs = [f"j{n}" for n in range(60)]
    road.submit(jobs)
    road.box(prefer="throughput", LOAD_S=0.1)
    road.done(jobs)
    assert [event["stage"] for event in road.log("load")] == list(STAGES)
    assert len(road.log("batch")) == 8 + 4 + 4  # of 8, 16 and 16, as GOLEM_BATCH has it


def test_a_call_knows_when_it_was_sent(road: Road) -> None:
    road.box()
    road.submit(["j"])
    road.done(["j"])
    assert all(0 <= event["queued"][0] < 5 for event in road.log("batch"))
