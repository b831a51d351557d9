"""Webhooks on a real server with receivers on loopback: at least once, none lost, signed, and bad receivers alone."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from standardwebhooks import Webhook

from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.webhooks import deliverer, outbox
from golem_chain.broker.webhooks.deliverer import Deliverer
from golem_chain.broker.webhooks.outbox import Outbox
from golem_chain.broker.webhooks.payload import message_id
from golem_chain.broker.webhooks.policy import Policy
from golem_chain.broker.webhooks.schedule import PER_NEW, PER_ORIGIN, SLOTS, Room, Verdict
from golem_chain.broker.webhooks.sender import Sender
from golem_chain.shared.errors import BadRequest, BadSetting, BadWebhook, BrokerAway, WireDiffers
from golem_chain.shared.records import Outcome, Transcript
from golem_chain.shared.settings import Settings
from tests.support.deliverer import STEPS_S, delivering
from tests.support.faults import CLOCK
from tests.support.paths import python_path
from tests.support.receiver import SECRET, Receiver

keys = Keys()
OPEN = Policy(http=True, private=True)
ROOM = Room(10, 10, 10, {})
ALLOWED = {"webhook_secret": SECRET, "webhook_http": "1", "webhook_private": "1"}


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={**ALLOWED, "stop_s": 5.0})


@pytest.fixture
def ready(settings, client):
    """The system is one in which a deliverer has run."""
    Outbox(client, keys).open(OPEN)


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture
def pipeline(settings, ready):
    with Pipeline(settings) as made:
        yield made


@pytest.fixture
def end(pipeline, settings, client):
    """Submits jobs with a webhook and ends them; returns their ids."""
    outcomes = Outcomes(settings, client)

    def ended(url, count=1, state="done", text="hello"):
        jobs = [pipeline.submit(text=text, webhook=url) for _ in range(count)]
        for job in jobs:
            outcomes.write(Outcome(job=job, name="text", state=state, transcript=Transcript(text=text)))
        return jobs

    return ended


def told(receiver, path=None):
    """Return the jobs that the receiver was told of, in their order."""
    got = receiver.requests if path is None else receiver.of(path)
    return [json.loads(one.body)["data"]["job"] for one in got]


def nothing_is_left(client):
    """Return whether all messages are delivered: no trace of them is in Redis."""
    left = [*client.scan_iter("golem:webhook:*"), *client.scan_iter("golem:webhooks:*"), *client.keys(keys.webhooks)]
    return not left and not client.xlen(keys.outbox)


# -- what is told, and when


def test_the_receiver_is_told_once_and_verifies_it_with_the_reference_implementation(
    settings, client, pipeline, end, receiver, eventually
):
    silent = pipeline.submit(text="without a webhook")
    pipeline.cancel(silent)
    [job] = end(receiver.url("/in"))
    cancelled = pipeline.submit(text="b", webhook=receiver.url("/in"))
    pipeline.cancel(cancelled)
    with delivering(settings):
        eventually(lambda: nothing_is_left(client))
    assert sorted(told(receiver)) == sorted([job, cancelled])
    for got in receiver.requests:
        body = Webhook(SECRET).verify(got.body, got.headers)
        found = pipeline.outcome(body["data"]["job"])
        assert body["data"] == found.model_dump(mode="json")
        assert body["type"] == f"job.{found.state}"
    assert len({got.headers["webhook-id"] for got in receiver.requests}) == 2


def test_a_failure_is_tried_again_with_the_same_id_and_body_and_a_new_signature_time(
    settings, client, end, receiver, eventually
):
    receiver.plan["/in"] = ["500", "close"]
    [job] = end(receiver.url("/in"))
    with delivering(settings):
        eventually(lambda: nothing_is_left(client))
    assert told(receiver) == [job] * 3
    assert len({(one.headers["webhook-id"], one.body) for one in receiver.requests}) == 1
    first, second, third = (one.at for one in receiver.requests)
    assert second - first >= STEPS_S[0]
    assert third - second >= STEPS_S[1]
    for one in receiver.requests:
        Webhook(SECRET).verify(one.body, one.headers)


def test_what_always_fails_becomes_a_dead_webhook_which_can_be_retried(settings, client, end, receiver, eventually):
    receiver.plan["/secret-path"] = ["500"] * 4
    [job] = end(receiver.url("/secret-path"))
    box = Outbox(client, keys)
    with delivering(settings):
        [dead] = eventually(box.dead)
        assert (dead["job"], dead["tries"]) == (job, 4)
        assert "answered 500" in dead["error"]
        assert "secret-path" not in str(dead), "the path may be a token"
        assert 0 < client.pttl(keys.webhook(dead["id"])) <= outbox.DEAD_KEEP_S * 1000
        box.retry(dead["id"])
        eventually(lambda: nothing_is_left(client))
    assert box.dead() == []
    assert len(told(receiver)) == 5
    with pytest.raises(BadRequest, match="There is no dead webhook"):
        box.retry(dead["id"])


def test_410_ends_the_tries_at_once(settings, client, end, receiver, eventually):
    receiver.plan["/in"] = ["410"]
    end(receiver.url("/in"))
    with delivering(settings):
        [dead] = eventually(Outbox(client, keys).dead)
    assert (dead["tries"], dead["error"]) == (1, "answered 410 (Gone)")
    assert len(receiver.requests) == 1


def test_what_is_sent_outlives_the_outcome(settings, client, end, receiver, eventually):
    receiver.plan["/in"] = ["500"]
    [job, late] = end(receiver.url("/in"), 2)
    client.delete(keys.outcome(late))  # as if no deliverer had run for GOLEM_KEEP_S
    with delivering(settings, steps_s=(0.5,)):
        eventually(lambda: receiver.requests)
        client.delete(keys.outcome(job))
        eventually(lambda: nothing_is_left(client))
    assert sorted(set(told(receiver))) == sorted([job, late])


def test_an_entry_without_a_copy_is_sent_from_the_outcome_or_says_that_it_expired(
    settings, client, end, receiver, eventually
):
    [job, gone] = end(receiver.url("/in"), 2)
    client.delete(keys.outbox, keys.outcome(gone))
    for one in (job, gone):
        client.xadd(keys.outbox, {"job": one, "url": receiver.url("/in")})
    with delivering(settings):
        [dead] = eventually(Outbox(client, keys).dead)
        eventually(lambda: told(receiver))
    assert told(receiver) == [job]
    assert dead["job"] == gone
    assert "GOLEM_KEEP_S" in dead["error"]
    with pytest.raises(BadRequest, match="nothing that could be sent"):
        Outbox(client, keys).retry(dead["id"])


def test_a_job_that_ends_again_is_told_again_under_another_id(settings, client, end, receiver, eventually):
    [job] = end(receiver.url("/in"))
    client.delete(keys.outcome(job))  # as `golem dead retry` does
    Outcomes(settings, client).write(Outcome(job=job, name="text", state="failed"))
    with delivering(settings):
        eventually(lambda: nothing_is_left(client))
    types = {json.loads(one.body)["type"]: one.headers["webhook-id"] for one in receiver.requests}
    assert set(types) == {"job.done", "job.failed"}
    assert len(set(types.values())) == 2


# -- who may be told


def test_no_webhook_is_accepted_before_a_deliverer_has_run(settings, client):
    with Pipeline(settings) as pipeline, pytest.raises(BadWebhook, match="start golem deliver"):
        pipeline.submit(text="a", webhook="https://example.org/")
    assert client.keys("golem:job:*") == []


@pytest.mark.parametrize("url", ["https://user:pw@example.org/", "https://127.0.0.1/", "http://example.org/", ""])
def test_the_deliverers_rules_hold_at_the_submit(settings, client, url):
    Outbox(client, keys).open(Policy())
    with Pipeline(settings) as pipeline, pytest.raises(BadWebhook) as refused:
        pipeline.submit(text="a", webhook=url)
    assert "pw" not in refused.value.message
    assert client.keys("golem:job:*") == []


def test_without_a_secret_nothing_is_delivered(settings):
    with pytest.raises(BadSetting, match="GOLEM_WEBHOOK_SECRET is not set"):
        Deliverer(settings.model_copy(update={"webhook_secret": None}))


def test_what_the_rules_forbid_is_not_sent_though_it_is_in_the_outbox(settings, client, end, receiver, eventually):
    end(receiver.url("/in"))
    strict = settings.model_copy(update={"webhook_private": "0"})
    with delivering(strict):
        [dead] = eventually(Outbox(client, keys).dead)
    assert "GOLEM_WEBHOOK_PRIVATE=1" in dead["error"]
    assert receiver.connections == 0


def test_rules_that_became_stricter_hold_for_what_waits(settings, client, end, receiver, eventually):
    receiver.plan["/in"] = ["500"]
    end(receiver.url("/in"))
    with delivering(settings, steps_s=(1.0,)):
        eventually(lambda: receiver.requests)
    with delivering(settings.model_copy(update={"webhook_hosts": ("example.org",)})):
        [dead] = eventually(Outbox(client, keys).dead)
    assert "GOLEM_WEBHOOK_HOSTS" in dead["error"]
    assert len(receiver.requests) == 1


def test_hostile_entries_are_dropped_or_buried_and_hold_up_nobody(settings, client, end, receiver, eventually):
    strange = Outcome(job="another", name="n", state="done").model_dump_json()
    for fields in (
        {"a": "b"},
        {"job": "j", "url": ""},
        {"job": "no id", "url": receiver.url("/x")},
        {"job": b"\xff\xfe", "url": b"\xff"},
    ):
        client.xadd(keys.outbox, fields)
    buried: list[dict[str, str]] = [
        {"job": "j1", "url": receiver.url("/x"), "outcome": "{"},
        {"job": "j2", "url": receiver.url("/x"), "outcome": strange},
        {"job": "j3", "url": "gopher://x/", "outcome": "{}"},
        {"job": "j4", "url": "x" * 100_000, "outcome": "{}"},
    ]
    for fields in buried:
        client.xadd(keys.outbox, fields)
    [job] = end(receiver.url("/in"))
    with delivering(settings):
        eventually(lambda: told(receiver))
        found = eventually(lambda: len(dead := Outbox(client, keys).dead()) == 4 and dead)
    assert told(receiver) == [job]
    assert {one["job"] for one in found} == {"j1", "j2", "j3", "j4"}
    assert client.xlen(keys.outbox) == 0


def test_an_entry_with_the_highest_id_does_not_close_the_outbox(settings, client, end, receiver, eventually):
    highest = f"{2**64 - 1}-{2**64 - 1}"
    client.xadd(keys.outbox, {"job": "j1", "url": receiver.url("/x"), "outcome": "{}"}, id=highest)
    [lost] = end(receiver.url("/in"))
    assert client.exists(keys.outcome(lost)), "the job ends all the same"
    with delivering(settings):
        eventually(lambda: not client.exists(keys.outbox))
        [job] = end(receiver.url("/in"))
        eventually(lambda: told(receiver) == [job])


def test_a_system_of_another_release_is_left_alone(settings, client):
    client.set(keys.wire, "99")
    with pytest.raises(WireDiffers, match="wire version 99"):
        Deliverer(settings).run()
    assert not client.exists(keys.webhooks_ready)


# -- several receivers


@pytest.mark.parametrize("kind", ["hang", "drip", "lie", "flood"])
def test_one_bad_receiver_holds_up_no_other(settings, client, end, receiver, eventually, kind):
    bad = Receiver()
    bad.plan["/"] = [kind] * 1000
    try:
        end(bad.url("/"), 100)
        good = end(receiver.url("/in"), 20)
        began = time.monotonic()
        with delivering(settings, sender=Sender(OPEN, total_s=3.0)):
            eventually(lambda: set(told(receiver)) == set(good))
            assert time.monotonic() - began < 3.0, "less than one time limit"
        if kind in ("hang", "drip"):  # the others answer 200: the try is over before the receiver's thread is
            assert bad.most["/"] == PER_NEW
    finally:
        bad.stop()


def test_more_hanging_receivers_than_slots_hold_up_none_that_has_answered(settings, client, end, receiver, eventually):
    bad = [Receiver() for _ in range(SLOTS + 10)]
    try:
        with delivering(settings, sender=Sender(OPEN, total_s=4.0), steps_s=(0.05,)):
            end(receiver.url("/in"))
            eventually(lambda: told(receiver))
            for one in bad:
                one.plan["/"] = ["hang"] * 9
                end(one.url("/"), 3)
            eventually(lambda: sum(one.open["/"] for one in bad) >= 40)
            began = time.monotonic()
            good = end(receiver.url("/in"), 20)
            eventually(lambda: set(good) <= set(told(receiver)))
            assert time.monotonic() - began < 2.0, "less than half a time limit"
    finally:
        for one in bad:
            one.stop()


def test_an_origin_gets_few_tries_at_a_time_and_all_its_messages_in_the_end(
    settings, client, end, receiver, eventually
):
    receiver.plan["/in"] = ["work 0.05"] * 60
    jobs = end(receiver.url("/in"), 60)
    with delivering(settings):
        eventually(lambda: nothing_is_left(client))
    assert sorted(told(receiver)) == sorted(jobs), "each once"
    assert 1 < receiver.most["/in"] <= PER_ORIGIN


# -- several deliverers, and their deaths


@pytest.fixture
def program(settings, tmp_path):
    """Starts deliverers as processes of their own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(lease_s=2.0, skew_s=0.0):
        env = {"GOLEM_REDIS_URL": settings.redis_url, "CLOCK_SKEW_S": str(skew_s)}
        env |= {f"GOLEM_{name.upper()}": value for name, value in ALLOWED.items()}
        with (tmp_path / f"deliverer{len(started)}.log").open("wb") as log:
            made = subprocess.Popen(
                [sys.executable, "-m", "tests.support.deliverer", str(lease_s), "0.1", "0.1"],
                env=os.environ | env | {"PYTHONPATH": python_path(CLOCK)}, cwd=tmp_path, stdout=log, stderr=log,
            )  # fmt: skip
        started.append(made)
        return made

    yield start
    for one in started:
        one.kill()
        one.wait()


def test_two_deliverers_and_the_death_of_one_in_mid_delivery_lose_nothing(client, end, receiver, eventually, program):
    receiver.plan["/in"] = ["hang 1"] * 4 + ["work 0.02"] * 400
    jobs = end(receiver.url("/in"), 100)
    first = program()
    eventually(lambda: receiver.open["/in"])
    first.send_signal(signal.SIGKILL)
    program()
    program()
    eventually(
        lambda: nothing_is_left(client),
        told=lambda: (len(receiver.requests), client.zrange(keys.webhooks, 0, -1, withscores=True)),
    )
    assert set(told(receiver)) == set(jobs)
    again = len(told(receiver)) - len(jobs)
    assert 0 < again <= 2 * PER_ORIGIN, "what was in hand, and no more"


def test_a_deliverer_whose_clock_is_an_hour_off_signs_with_the_servers_time(client, end, receiver, eventually, program):
    receiver.plan["/in"] = ["500", "500"]
    for skew_s in (3600, -3600):
        [job] = end(receiver.url("/in"))
        running = program(skew_s=skew_s)
        eventually(lambda: nothing_is_left(client))
        running.kill()
        assert told(receiver)[-1] == job
    for one in receiver.requests:
        Webhook(SECRET).verify(one.body, one.headers)


def test_a_deliverer_that_is_told_to_stop_finishes_what_it_sends(settings, client, end, receiver, eventually):
    receiver.plan["/in"] = ["work 0.5"]
    end(receiver.url("/in"))
    with delivering(settings):
        eventually(lambda: receiver.open["/in"])
    assert nothing_is_left(client)
    assert len(receiver.requests) == 1


def test_what_takes_too_long_at_a_stop_is_given_back_and_due_at_once(settings, client, end, receiver, eventually):
    receiver.plan["/in"] = ["hang 30"]
    [job] = end(receiver.url("/in"))
    with delivering(settings.model_copy(update={"stop_s": 0.1}), lease_s=600):
        eventually(lambda: receiver.open["/in"])
    assert client.hget(keys.webhook(next(iter(ids(client)))), "tries") == b"0"
    with delivering(settings):
        eventually(lambda: nothing_is_left(client))
    assert told(receiver) == [job, job]


def ids(client):
    return [key.decode().removeprefix(keys.webhook_prefix) for key in client.scan_iter(f"{keys.webhook_prefix}*")]


def test_who_lost_the_lease_postpones_and_buries_nothing_but_what_he_delivered_is_done(settings, client, end, receiver):
    end(receiver.url("/in"))
    box = Outbox(client, keys)
    [entry] = box.entries()
    assert box.accept(entry, OPEN) is None
    assert box.accept(entry, OPEN) is None, "a second deliverer is too late"
    [first] = box.claim(ROOM, 0.0)
    [second] = box.claim(ROOM, 60.0)
    assert (first.id, second.take - first.take) == (second.id, 1)
    assert first.id == message_id(first.job, entry.id)
    later, dead, done = (Verdict(move, 0.0, "x") for move in ("later", "dead", "delivered"))
    assert box.settle(first, later) is None
    assert box.settle(first, dead) is None
    box.give_back(first)
    assert box.claim(ROOM, 60.0) == [], "the second still has it"
    assert box.settle(first, done) == []
    assert nothing_is_left(client)
    assert box.settle(second, later) is None
    assert nothing_is_left(client)


def test_the_list_of_the_dead_is_bounded_and_what_falls_out_is_named(settings, client, end, receiver, monkeypatch):
    monkeypatch.setattr(outbox, "DEAD_MOST", 2)
    end(receiver.url("/in"), 3)
    box = Outbox(client, keys)
    for entry in box.entries():
        box.accept(entry, OPEN)
    first, second, third = box.claim(ROOM._replace(origins={receiver.url(""): 3}), 60.0)
    dead = Verdict("dead", why="broke")
    assert [box.settle(one, dead) for one in (first, second, third)] == [[], [], [first.id]]
    assert [one["id"] for one in box.dead()] == [third.id, second.id]
    client.delete(keys.webhook(second.id))  # it has expired
    assert [one["id"] for one in box.dead()] == [third.id]
    assert not client.exists(keys.webhook(first.id))


# -- Redis


@pytest.fixture
def own_server(start_server, tmp_path):
    with start_server(tmp_path, appendonly=True) as server:
        yield server


def test_redis_away_for_a_while_is_waited_for_and_nothing_is_lost(own_server, receiver, eventually, caplog):
    settings = Settings.read(_env_file=None, redis_url=own_server.url, keep_s=60, **ALLOWED)
    receiver.plan["/in"] = ["work 1"]
    caplog.set_level(logging.WARNING, logger=deliverer.__name__)
    with delivering(settings):
        with Pipeline(settings) as pipeline:
            eventually(lambda: accepts(pipeline))
            job = pipeline.submit(text="a", webhook=receiver.url("/in"))
            pipeline.cancel(job)
        eventually(lambda: receiver.open["/in"])
        own_server.kill()
        eventually(lambda: "Redis is away" in caplog.text)
        own_server.restart()
        eventually(lambda: "Redis is back" in caplog.text)
        with Pipeline(settings) as pipeline:
            other = pipeline.submit(text="b", webhook=receiver.url("/in"))
            pipeline.cancel(other)
            eventually(lambda: nothing_is_left(pipeline._client))
    assert told(receiver) == [job, other], "the try that Redis missed is noted when it is back"


def test_a_deliverer_stops_although_redis_is_away(own_server, receiver, eventually):
    settings = Settings.read(_env_file=None, redis_url=own_server.url, stop_s=0.5, **ALLOWED)
    receiver.plan["/in"] = ["hang 30"]
    with Pipeline(settings) as pipeline, delivering(settings):
        eventually(lambda: accepts(pipeline))
        pipeline.cancel(pipeline.submit(text="a", webhook=receiver.url("/in")))
        eventually(lambda: receiver.open["/in"])
        own_server.kill()
        began = time.monotonic()
    assert time.monotonic() - began < 5


def accepts(pipeline):
    try:
        Outbox(pipeline._client, keys).check("http://127.0.0.1/")
    except BadWebhook:
        return False
    return True


def test_a_server_that_is_full_is_waited_for(settings, client, end, receiver, eventually, caplog):
    [job] = end(receiver.url("/in"))
    client.config_set("maxmemory", "100kb")
    try:
        with delivering(settings):
            eventually(lambda: "Redis is away" in caplog.text)
            client.config_set("maxmemory", "0")
            eventually(lambda: nothing_is_left(client))
    finally:
        client.config_set("maxmemory", "0")
    assert told(receiver) == [job]


def test_a_wrong_password_ends_the_deliverer_with_one_sentence(settings):
    wrong = settings.model_copy(
        update={
            "redis_url": settings.redis_url.replace("://", "://nobody:wrong@", 1).replace("nobody:wrong@:", "nobody:")
        }
    )
    made = Deliverer(wrong)
    with pytest.raises(BrokerAway, match="rejected the password"):
        made.run()


# -- the command


def test_the_command_delivers_until_ctrl_c_and_logs_no_path(settings, client, end, receiver, eventually, tmp_path):
    [job] = end(receiver.url("/token-1234"))
    env = {f"GOLEM_{name.upper()}": value for name, value in ALLOWED.items()} | {"GOLEM_REDIS_URL": settings.redis_url}
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "golem_chain.broker.cli", "deliver"],
            env=os.environ | env, cwd=tmp_path, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        eventually(lambda: nothing_is_left(client))
        eventually(lambda: "was told" in (tmp_path / "log").read_text())
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0
    finally:
        running.kill()
        running.wait()
    said = (tmp_path / "log").read_text()
    assert job in said
    assert "Stopped; what was not delivered stays in Redis." in said
    for secret in ("token-1234", SECRET, "Traceback"):
        assert secret not in said


def test_threads_do_not_pile_up(settings, client, end, receiver, eventually):
    before = threading.active_count()
    end(receiver.url("/in"), 50)
    with delivering(settings):
        eventually(lambda: nothing_is_left(client))
    eventually(lambda: threading.active_count() <= before + 2)
