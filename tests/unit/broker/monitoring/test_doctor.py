"""`golem doctor` finds each fault that is planted in a server, and none in a healthy system."""

import json

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from golem_chain.broker import acl
from golem_chain.broker.jobs.dead_letters import Letters
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import delivery, doctor, server, serving, snapshot_reader
from golem_chain.broker.monitoring.server import Server
from golem_chain.broker.monitoring.serving import Serving
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.broker.submission import Asked
from golem_chain.shared.errors import BadAudio
from golem_chain.shared.records import JobOptions
from golem_chain.shared.settings import Settings
from tests.support import takes

keys = Keys()

DELIVERY = {"expiry", "in-hand", "leases", "dead-letters", "live-jobs"}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(delivery, "PAUSE_S", 0)


@pytest.fixture
def pipeline(settings):
    with Pipeline(settings) as made:
        yield made


@pytest.fixture
def wrong(client, settings):
    """What is wrong with delivery now: check -> message."""

    def look():
        found = delivery.examine(client, settings.lease_s, keys)
        assert {one.check for one in found} == DELIVERY
        assert all(one.remedy for one in found if one.state == "wrong")
        return {one.check: one.message for one in found if one.state == "wrong"}

    return look


def submit(pipeline, *ids, **options):
    for job in ids:
        pipeline.submit(b"x" * 50, id=job, name="clip.wav", **options)


def take(client, most=10, deliveries=3):
    """Take messages of the first queue as a worker does, and return their tags."""
    return [one.tag.encode() for one in takes.take(client, STAGES[0], most, deliveries=deliveries)[0]]


def large_labels():
    return ",".join(f'label{n}="a phrasing that takes up some room, number {n}"' for n in range(60))


def box(client, name, queues=STAGES, **fields):
    told = {"queues": list(queues), "resident": list(fields.get("models", ())), **fields}
    client.zadd(keys.boxes, {name: client.time()[0]})
    client.hset(keys.box(name), mapping={field: json.dumps(value) for field, value in told.items()})


# -- a healthy system --------------------------------------------------------------------------------------------------


def test_an_empty_server_has_nothing_wrong(wrong):
    assert wrong() == {}


def test_a_healthy_system_has_nothing_wrong(client, settings, pipeline, wrong):
    submit(pipeline, "a", "b", "c", labels=large_labels())
    submit(pipeline, "d")
    box(client, "box@here")
    assert wrong() == {}
    assert take(client, 2)
    assert wrong() == {}, "two in hand, two in the queue"
    outcomes = Outcomes(settings, client)
    outcomes.fail("a", BadAudio("It cannot be read."))
    pipeline.cancel("b")
    outcomes.end("c", "done")
    client.delete(keys.unacked, keys.unacked_index, keys.holders, keys.deliveries)
    assert wrong() == {}
    assert not [one for one in doctor.of_redis(settings) if one.state == "wrong"]


def test_a_job_that_is_not_published_yet_needs_no_message(client, pipeline, wrong):
    job, _ = pipeline._submitter.describe(Asked(b"x"), JobOptions(), "early", "a.wav")
    pipeline._jobs.register(job)
    assert client.exists(keys.job("early"))
    assert wrong() == {}


# -- delivery ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [keys.job("a"), keys.outcome("a"), keys.audio("a")])
def test_a_key_of_an_ended_job_that_never_expires_is_found(client, pipeline, wrong, key):
    submit(pipeline, "a")
    pipeline.cancel("a")
    assert client.persist(key)
    assert key in wrong()["expiry"]


@pytest.mark.parametrize("key", ["golem:vault:nobody", "golem:labels:00", "golem:vocabulary:00", "golem:upload:whole"])
def test_a_key_without_expiry_that_belongs_to_no_job_is_found(client, wrong, key):
    client.set(key, "x")
    client.set("golem:vault-total", "5")  # not of a job
    assert wrong() == {"expiry": f"1 key without an expiry and without a live job ({key})"}


def test_a_label_set_is_kept_by_its_live_jobs_only(client, pipeline, wrong):
    submit(pipeline, "a", "b", labels=large_labels())
    [name] = client.scan_iter("golem:labels:*")
    users = keys.users(name.decode())
    pipeline.cancel("a")
    assert wrong() == {}, "b uses it"
    pipeline.cancel("b")
    assert wrong() == {}, "it expires"
    client.persist(name)
    client.sadd(users, "b")
    assert name.decode() in wrong()["expiry"]
    assert users in wrong()["expiry"]


@pytest.mark.parametrize(
    "entry", [b"no queue \xff", b"elsewhere {}", b"[" * 5000, b'[{"headers": {}}, "golem", "scribe"]', b""]
)
def test_an_entry_in_hand_that_cannot_be_requeued_is_found(client, pipeline, wrong, entry):
    submit(pipeline, "a")
    [tag] = take(client)
    client.hset(keys.unacked, tag, entry)
    pipeline.cancel("a")
    found = wrong()
    assert set(found) == {"in-hand"}
    assert tag.decode() in found["in-hand"]
    assert "no queue of ours" in found["in-hand"]


def test_a_message_in_hand_without_a_lease_or_a_holder_is_found(client, pipeline, wrong):
    submit(pipeline, "a", "b")
    first, second = take(client)
    client.zrem(keys.unacked_index, first)
    client.hdel(keys.holders, second)
    said = wrong()["in-hand"]
    assert f"{first.decode()} has no lease" in said
    assert f"{second.decode()} has no holder" in said


def test_a_lease_that_nobody_recovers_is_found(client, settings, pipeline, wrong):
    submit(pipeline, "a")
    [tag] = take(client)
    now = client.time()[0]
    client.zadd(keys.unacked_index, {tag: now - 1.5 * settings.lease_s})
    assert wrong() == {}, "a worker may be about to requeue it"
    client.zadd(keys.unacked_index, {tag: now - 2.5 * settings.lease_s})
    assert tag.decode() in wrong()["leases"]


def test_a_dead_letter_whose_job_nobody_will_end_is_found(client, settings, pipeline, wrong):
    submit(pipeline, "a")
    take(client, deliveries=0)
    [letter] = Letters(client, keys).all()
    assert letter.job == "a"
    assert wrong() == {}, "a worker is about to end its job"
    client.delete(keys.dying)
    assert set(wrong()) == {"dead-letters"}
    assert "(a)" in wrong()["dead-letters"]
    Outcomes(settings, client).end("a", "failed")
    assert wrong() == {}
    client.delete(keys.job("a"), keys.outcome("a"), keys.audio("a"))
    assert wrong() == {}, "the letter outlives its job"
    client.lpush(keys.dead, b"no letter", b"[" * 5000)
    assert wrong() == {}


def test_a_live_job_without_a_message_is_found(client, pipeline, wrong):
    submit(pipeline, "a", "b")
    [tag] = take(client, 1)
    client.hdel(keys.unacked, tag)
    assert wrong() == {"live-jobs": "1 live job without a message (a)"}
    client.delete(keys.queue(STAGES[0]))
    assert wrong()["live-jobs"] == "2 live jobs without a message (a, b)"
    pipeline.cancel("a")
    pipeline.cancel("b")
    assert wrong() == {}


def test_only_what_is_wrong_twice_is_reported(client, settings, pipeline):
    submit(pipeline, "a", "b")
    client.delete(keys.queue(STAGES[0]))
    seen = snapshot_reader.read(client, keys)
    pipeline.cancel("a")
    again = delivery.check(seen, settings.lease_s, lambda: snapshot_reader.read(client, keys))
    found = {one.check: one for one in again}
    assert found["live-jobs"].message == "1 live job without a message (b)"


def test_what_is_too_much_to_read_is_not_called_wrong_and_said(client, settings, pipeline, monkeypatch):
    monkeypatch.setattr(snapshot_reader, "QUEUE_MOST", 2)
    submit(pipeline, "a", "b", "c")
    found = {one.check: one for one in delivery.examine(client, settings.lease_s, keys)}
    assert {check for check, one in found.items() if one.state == "skipped"} == {"dead-letters", "live-jobs"}
    assert "more messages wait than are read" in found["live-jobs"].message
    monkeypatch.setattr(snapshot_reader, "KEYS_MOST", snapshot_reader.STEP)
    for n in range(3 * snapshot_reader.STEP):
        client.set(f"other:{n}", "x")
    client.delete(keys.queue(STAGES[0]))
    client.set(keys.upload("a"), "x", ex=60)
    found = {one.check: one for one in delivery.examine(client, settings.lease_s, keys)}
    assert "among the first" in found["expiry"].message
    assert "among the first" not in found["leases"].message


def test_names_of_strangers_are_shown_without_acting(client, wrong):
    client.set(b"golem:outcome:\x1b[2J", "x")
    client.set(b"golem:outcome:\xff", "x")  # no id of ours
    client.set(b"golem:job:string", "x")
    said = wrong()["expiry"]
    assert "\x1b" not in said
    assert r"\x1b[2J" in said


# -- the server --------------------------------------------------------------------------------------------------------

HEALTHY = {
    "redis_version": "7.2.4", "aof_enabled": 1, "aof_last_write_status": "ok", "maxmemory_policy": "noeviction",
    "used_memory": 50, "maxmemory": 100, "cluster_enabled": 0,
}  # fmt: skip


def test_a_healthy_server_is_ok():
    assert {one.state for one in server.check(Server(HEALTHY))} == {"ok"}


def test_the_embedded_server_is_read(settings, client):
    found = {one.check: one.state for one in server.check(server.read(client))}
    assert found == dict.fromkeys(found, "ok") | {"persistence": "warning"}, "it has no append-only file"


@pytest.mark.parametrize(
    ("told", "check", "state"),
    [
        ({"redis_version": "6.2.14"}, "version", "wrong"),
        ({"redis_version": "8.0"}, "version", "ok"),
        ({"aof_enabled": 0}, "persistence", "warning"),
        ({"aof_last_write_status": "err"}, "persistence", "wrong"),
        ({"maxmemory_policy": "allkeys-lru"}, "eviction", "wrong"),
        ({"used_memory": 81}, "memory", "warning"),
        ({"used_memory": 81, "maxmemory": 0}, "memory", "ok"),
        ({"cluster_enabled": 1}, "cluster", "wrong"),
    ],
)
def test_a_fault_of_the_server_is_found(told, check, state):
    found = {one.check: one for one in server.check(Server(HEALTHY | told))}
    assert {name for name, one in found.items() if one.state != "ok"} == ({check} if state != "ok" else set())
    assert found[check].state == state
    assert bool(found[check].remedy) == (state != "ok")


def test_what_the_server_does_not_tell_is_skipped():
    states = {one.check: one.state for one in server.check(Server({}))}
    assert states.pop("redis") == states.pop("cluster") == states.pop("clock") == "ok"
    assert set(states.values()) == {"skipped"}


@pytest.mark.parametrize(("skew_s", "error_s", "state"), [(0.9, 0, "ok"), (-1.5, 0.1, "warning"), (1.5, 0.8, "ok")])
def test_clocks_that_differ_are_a_warning(skew_s, error_s, state):
    [found] = [one for one in server.check(Server(HEALTHY, skew_s, error_s)) if one.check == "clock"]
    assert found.state == state


def test_a_server_that_does_not_answer_is_one_finding():
    [found] = doctor.of_redis(Settings.read(_env_file=None, redis_url="redis://:secret@127.0.0.1:1/0"))
    assert (found.check, found.state) == ("redis", "wrong")
    assert "cannot be reached" in found.message
    assert "GOLEM_REDIS_URL" in found.remedy
    assert "secret" not in found.message


def test_without_an_address_redis_is_skipped():
    [found] = doctor.of_redis(Settings.read(_env_file=None))
    assert (found.check, found.state) == ("redis", "skipped")


@pytest.mark.parametrize(
    ("user", "skipped"), [("worker", set()), ("monitor", {"delivery", "webhooks", "wire"}), ("flower", None)]
)
def test_a_user_with_fewer_rights_gets_fewer_checks(client, settings, user, skipped):
    client.execute_command(
        "ACL", "SETUSER", user, "reset", "on", ">secret", "resetchannels", *rules(acl.rules(settings.prefix)[user])
    )
    try:
        url = settings.redis_url.partition("@")[2]
        found = doctor.of_redis(settings.model_copy(update={"redis_url": f"redis://{user}:secret@{url}"}))
        states = {one.check: one.state for one in found}
        assert "ok" in states.values()
        if skipped is None:
            assert {"workers", "delivery"} <= {check for check, state in states.items() if state == "skipped"}
        else:
            assert {check for check, state in states.items() if state == "skipped"} == skipped
    finally:
        client.execute_command("ACL", "DELUSER", user)


def rules(text):
    """Split rules as a shell would, with each selector in one piece."""
    outer, _, rest = text.partition("(")
    selector, _, last = rest.partition(")")
    return [*outer.split(), *([f"({selector})"] if selector else []), *last.split()]


# -- the workers -------------------------------------------------------------------------------------------------------


def test_workers_are_read_from_redis(client, settings):
    with Redis.from_url(settings.redis_url, decode_responses=True) as decoding:
        [found] = serving.check(serving.read(decoding, keys))
        assert (found.check, found.state) == ("workers", "wrong")
        box(client, "one@here", models={"scribe": "whisper@1"})
        box(client, "two@here", models={"oracle": "lm@1"})
        assert {one.state for one in serving.check(serving.read(decoding, keys))} == {"ok"}


def test_a_stage_without_a_worker_is_a_warning():
    seen = Serving({"one": {"queues": ["scribe", "interpreter"]}}, {"scribe": 0, "interpreter": 0, "oracle": 7})
    found = {one.check: one for one in serving.check(seen)}
    assert found["stages"].state == "warning"
    assert "oracle (7 messages wait)" in found["stages"].message


def test_different_resident_models_are_found():
    boxes = {
        name: {"queues": list(STAGES), "models": {"scribe": model}} for name, model in (("one", "a@1"), ("two", "a@2"))
    }
    found = {one.check: one for one in serving.check(Serving(boxes, {}))}
    assert found["models-agree"].state == "wrong"
    assert "two" in found["models-agree"].message


def test_a_cluster_ends_the_checks(settings, monkeypatch):
    monkeypatch.setattr(server, "read", lambda client: Server(HEALTHY | {"cluster_enabled": 1}))
    assert {one.check for one in doctor.of_redis(settings)}.isdisjoint(DELIVERY | {"workers"})


def test_a_reading_that_fails_is_one_finding(settings, monkeypatch):
    def denied(client):
        raise NoPermissionError("NOPERM")

    monkeypatch.setattr(server, "read", denied)
    found = {one.check: one.state for one in doctor.of_redis(settings)}
    assert found["server"] == "skipped"
    assert found.keys() >= DELIVERY
