"""`golem doctor`: exit codes, lines, and --json."""

import json

import pytest

from golem_chain.broker.monitoring import delivery, machine
from golem_chain.shared.finding import Finding

STATES = {"ok", "warning", "wrong", "skipped"}


@pytest.fixture(autouse=True)
def _no_machine(monkeypatch):
    monkeypatch.setattr(machine, "check", lambda settings: [])
    monkeypatch.setattr(delivery, "PAUSE_S", 0)


@pytest.fixture
def found(monkeypatch):
    """Makes these findings the only ones of the machine."""

    def make(*findings):
        monkeypatch.setattr(machine, "check", lambda settings: findings)

    return make


def test_each_finding_is_a_line_with_its_remedy(golem, surroundings, found):
    found(
        Finding("disk", "ok", "There is room"),
        Finding("clock", "warning", "The clock is late", "run NTP"),
        Finding("device", "wrong", "The card\x1b is old", "use a CPU"),
    )
    code, out, err = golem("doctor")
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        "–       GOLEM_REDIS_URL is not set: server, workers and jobs are not checked",
        "ok      There is room",
        "warning The clock is late: run NTP",
        r"WRONG   The card\x1b is old: use a CPU",
    ]


def test_warnings_alone_are_no_failure(golem, surroundings, found):
    found(Finding("clock", "warning", "The clock is late", "run NTP"))
    assert golem("doctor")[0] == 0


def test_a_system_without_a_worker_is_wrong_and_one_with_a_worker_is_not(golem, redis):
    code, out, _ = golem("doctor")
    assert code == 1
    assert "WRONG   No worker is running: start golem worker\n" in out
    redis.zadd("golem:boxes", {"one@here": 1})
    redis.hset("golem:box:one@here", "queues", '["scribe", "interpreter", "oracle"]')
    code, out, _ = golem("doctor")
    assert code == 0, out
    assert "WRONG" not in out
    assert all(len(line) < 120 for line in out.splitlines())


def test_json_is_one_object(golem, redis):
    code, out, err = golem("doctor", "--json")
    assert (code, err) == (1, "")
    [line] = out.splitlines()
    checks = json.loads(line)["checks"]
    assert {one["state"] for one in checks} <= STATES
    assert all(set(one) == {"check", "state", "message", "remedy"} for one in checks)
    assert len({one["check"] for one in checks}) == len(checks), "a name stands for one check"
    assert [one["check"] for one in checks if one["state"] == "wrong"] == ["workers"]


def test_a_server_that_is_away_is_a_line_and_no_traceback(golem, surroundings, monkeypatch):
    monkeypatch.setenv("GOLEM_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
    code, out, _ = golem("doctor")
    assert code == 1
    assert out == (
        "WRONG   Redis at redis://***@127.0.0.1:1/0 cannot be reached: check GOLEM_REDIS_URL and that the server is "
        "running\n"
    )


def test_an_address_that_cannot_be_used_is_wrong_usage(golem, surroundings, monkeypatch):
    monkeypatch.setenv("GOLEM_REDIS_URL", "http://here")
    code, out, err = golem("doctor")
    assert (code, out) == (2, "")
    assert "GOLEM_REDIS_URL" in err
