"""Batching: messages of one take run together and end separately."""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from golem_chain.broker.local import embedded
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import message
from tests.support.fleet import Fleet, descendants


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.Server]:
    with embedded.start() as running:
        yield running


def test_eight_messages_become_one_call_and_end_each_by_itself(fleet: Fleet) -> None:
    jobs = [f"j{n}" for n in range(8)]
    fleet.submit(jobs)
    fleet.box()
    fleet.done(jobs)
    assert [event["jobs"] for event in fleet.log("batch")] == [jobs] * 3
    fleet.settled()


def test_a_bad_item_fails_alone_and_the_rest_of_its_chain_is_not_run(fleet: Fleet) -> None:
    jobs = [f"j{n}" for n in range(7)]
    fleet.submit([*jobs[:3], "bad", *jobs[3:]])
    fleet.box()
    fleet.done(jobs)
    fleet.until(lambda: fleet.log("failed"))
    assert fleet.state("bad", "interpreter") == "FAILURE"
    assert [event["job"] for event in fleet.log("failed")] == ["bad"]
    assert not fleet.log("end", stage="oracle", job="bad")
    fleet.settled()


def test_a_batch_that_fails_as_a_whole_is_split_and_the_guilty_one_fails_alone(fleet: Fleet) -> None:
    jobs = [f"j{n}" for n in range(4)]
    fleet.submit([*jobs, "boom"])
    fleet.box()
    fleet.done(jobs)
    fleet.until(lambda: fleet.state("boom", "interpreter") == "FAILURE")
    sizes = [len(event["jobs"]) for event in fleet.log("batch", stage="interpreter")]
    assert sizes == [5, 1, 1, 1, 1, 1]
    fleet.settled()


def test_a_retryable_error_is_tried_again_and_succeeds(fleet: Fleet) -> None:
    fleet.submit(["retry", "j"])
    fleet.box()
    fleet.done(["retry", "j"])
    assert len(fleet.log("end", stage="interpreter", job="retry")) == 3
    assert len(fleet.log("end", stage="interpreter", job="j")) == 1
    fleet.settled()


def test_the_same_task_twice_in_one_batch_runs_once(fleet: Fleet) -> None:
    fleet.submit(["twin", "j"])
    fleet.redis.lpush(fleet.keys.queue("scribe"), message.text("scribe", "twin"))
    fleet.box()
    fleet.done(["twin", "j"])
    fleet.settled()
    assert len(fleet.log("end", job="twin")) == 3
    fleet.redis.lpush(
        fleet.keys.queue("scribe"), message.text("scribe", "twin")
    )  # its job has ended: it does not run again
    fleet.redis.zadd("golem:wake:scribe", {"work": 0})
    fleet.settled()
    assert len(fleet.log("end", job="twin")) == 3


def test_a_killed_child_loses_nothing_and_what_it_had_runs_alone(fleet: Fleet) -> None:
    jobs = ["slow", *(f"j{n}" for n in range(7))]
    fleet.submit(jobs)
    box = fleet.box(SLOW_S=0.5)
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    os.kill(descendants(box.pid)[0], signal.SIGKILL)
    back = fleet.until(lambda: len(fleet.log("batch", stage="interpreter")) > 1)
    print(f"back at work {back:.2f} s after the death of the child")
    assert back < 12  # 3 s on an idle machine, see `make chaos`; half the lease, so no lease expired
    fleet.done(jobs)
    later = fleet.log("batch", stage="interpreter")[1:]
    assert all(len(event["jobs"]) == 1 for event in later[:7])
    assert len(fleet.log("end", stage="oracle")) == 8
    fleet.settled()


def test_a_message_that_kills_its_worker_ends_as_failed_after_three_deliveries_and_spares_the_others(
    fleet: Fleet,
) -> None:
    jobs = [f"j{n}" for n in range(7)]
    fleet.submit([*jobs[:4], "poison", *jobs[4:]])
    fleet.box()
    fleet.done(jobs)
    fleet.until(lambda: fleet.log("failed"))
    assert fleet.state("poison", "interpreter") == "FAILURE"
    assert len([e for e in fleet.log("batch", stage="interpreter") if "poison" in e["jobs"]]) == 3
    (failed,) = fleet.log("failed")
    assert (failed["job"], failed["error"]) == ("poison", "too-many-deliveries")
    assert "signal 9" in failed["text"]
    (letter,) = map(json.loads, fleet.redis.lrange("golem:dead", 0, -1))
    assert (letter["why"], letter["queue"], letter["deliveries"]) == ("too-many-deliveries", "interpreter", 3)
    assert json.loads(letter["raw"])["headers"]["id"] == "poison.interpreter"
    fleet.settled()


def test_a_message_past_its_time_limit_fails_alone(fleet: Fleet) -> None:
    jobs = ["j0", "slow", "j1"]
    fleet.submit(jobs)
    fleet.box(time_limit_s=3, SLOW_S=30)
    fleet.done(["j0", "j1"])
    fleet.until(lambda: fleet.log("failed"))
    assert fleet.state("slow", "interpreter") == "FAILURE"
    (failed,) = fleet.log("failed")
    assert (failed["job"], failed["error"]) == ("slow", "time-limit")
    fleet.settled()


def test_a_backlog_of_sixty_chains_costs_three_loads(fleet: Fleet) -> None:
    jobs = [f"j{n}" for n in range(60)]
    fleet.submit(jobs)
    fleet.box(prefer="throughput", LOAD_S=0.1)
    fleet.done(jobs)
    assert [event["stage"] for event in fleet.log("load")] == list(STAGES)
    assert len(fleet.log("batch")) == 8 + 4 + 4  # batches of 8, 16 and 16, as set by GOLEM_BATCH


def test_a_call_knows_when_it_was_sent(fleet: Fleet) -> None:
    fleet.box()
    fleet.submit(["j"])
    fleet.done(["j"])
    [outcome] = fleet.pipeline.wait(["j"])
    assert len(outcome.stages) == 3
    assert all(0 < run.queued_s < 300 for run in outcome.stages.values())
