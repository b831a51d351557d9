"""Agreement on checkpoints: a worker with different ones does not start until the others are gone."""

import json
import os
import signal
import time

import pytest
from redis import Redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import checkpoints
from golem_chain.shared.errors import CheckpointsDiffer, ModelMissing
from golem_chain.workers.parent.checkpoints import Agreement
from tests.support.fleet import Fleet

keys = Keys()


def checkpoint(id: str, precision: str = "float16") -> dict[str, str]:
    return {"id": id, "fingerprint": f"{id}-fingerprint", "precision": precision}


def test_the_same_checkpoints_agree_and_a_differing_one_names_both_and_the_remedy(client: Redis) -> None:
    first = Agreement(client, "one@a", {"scribe": checkpoint("tiny"), "oracle": checkpoint("smol")}, keys)
    first.renew()
    Agreement(client, "two@b", {"scribe": checkpoint("tiny")}, keys).renew()
    Agreement(client, "three@b", {"interpreter": checkpoint("mini")}, keys).renew()
    first.renew()
    for other in (checkpoint("base"), checkpoint("tiny", "float32"), checkpoint("tiny") | {"fingerprint": "other"}):
        with pytest.raises(CheckpointsDiffer) as refused:
            Agreement(client, "four@c", {"oracle": checkpoint("smol"), "scribe": other}, keys).renew()
        message = refused.value.message
        assert f"{other['id']} ({other['precision']}, {other['fingerprint'][:8]})" in message
        assert "but that of two@b" in message or "but that of one@a" in message
        assert "tiny (float16, tiny-fin)" in message
        if other["precision"] == "float16":
            assert "golem models pull" in message
            assert "GOLEM_SCRIBE_MODEL" in message
        else:
            assert "set the same GOLEM_DTYPE on both, or GOLEM_AGREE=weights" in message
    assert 0 < client.pttl("golem:checkpoint:scribe") <= 3000, "the entry goes with the last who renews it"


def test_boxes_that_agree_on_the_weights_may_differ_in_precision_but_not_in_what_they_agree_on(client: Redis) -> None:
    weights = {"id": "tiny", "fingerprint": "abc"}
    Agreement(client, "one@a", {"scribe": weights}, keys).renew()
    Agreement(client, "two@b", {"scribe": dict(weights)}, keys).renew()
    with pytest.raises(CheckpointsDiffer, match="set the same GOLEM_AGREE on both") as refused:
        Agreement(client, "three@c", {"scribe": weights | {"precision": "float32"}}, keys).renew()
    assert "this box is tiny (float32, abc)" in refused.value.message
    assert "is tiny (abc)" in refused.value.message


def test_producers_are_told_what_runs_and_nothing_of_what_is_damaged_or_not_theirs_to_read(client: Redis) -> None:
    assert checkpoints.read(client, keys) == {}
    Agreement(client, "one@a", {"oracle": checkpoint("smol"), "scribe": checkpoint("openai/tiny")}, keys).renew()
    assert checkpoints.read(client, keys) == {"scribe": "openai/tiny", "oracle": "smol"}
    for damaged in ("no json", "[]", '{"id": 7}', "null"):
        client.hset(keys.checkpoint("oracle"), "checkpoint", damaged)
        assert checkpoints.read(client, keys) == {"scribe": "openai/tiny"}
    folder = json.dumps({"id": "/home/somebody/models/whisper-ours"})
    client.hset(keys.checkpoint("oracle"), "checkpoint", folder)
    assert checkpoints.read(client, keys)["oracle"] == "whisper-ours"
    client.acl_setuser("blind", enabled=True, nopass=True, commands=["+hget"], reset=True)
    try:
        address = client.connection_pool.connection_kwargs
        with Redis(host=address["host"], port=address["port"], username="blind", password="any") as blind:
            assert checkpoints.read(blind, keys) == {}
    finally:
        client.acl_deluser("blind")


def test_a_refused_worker_registers_nothing(client: Redis) -> None:
    Agreement(client, "one@a", {"scribe": checkpoint("tiny")}, keys).renew()
    with pytest.raises(CheckpointsDiffer):
        Agreement(client, "two@b", {"oracle": checkpoint("other"), "scribe": checkpoint("base")}, keys).renew()
    assert not client.exists("golem:checkpoint:oracle")


def test_a_pull_while_workers_run_is_registered_once_all_who_share_the_store_have_noticed(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, store = 1000.0, {"scribe": checkpoint("tiny")}
    monkeypatch.setattr("golem_chain.workers.parent.checkpoints.time.monotonic", lambda: now_s)
    workers = [Agreement(client, name, dict(store), keys, lambda: dict(store)) for name in ("one@a", "two@a")]
    for worker in workers:
        worker.renew()
    store["scribe"] = checkpoint("tiny", "float16") | {"fingerprint": "new"}
    for worker in workers:
        worker.renew()  # the entry is still the old one
    client.delete("golem:checkpoint:scribe")  # it expires, since none of them renews it
    for worker in workers:
        worker.renew()
    with pytest.raises(CheckpointsDiffer):
        Agreement(client, "three@b", {"scribe": checkpoint("tiny")}, keys).renew()


def test_a_pull_on_one_box_only_ends_its_worker_when_the_others_keep_theirs(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, store = [1000.0], {"scribe": checkpoint("tiny")}
    monkeypatch.setattr("golem_chain.workers.parent.checkpoints.time.monotonic", lambda: now_s[0])
    other = Agreement(client, "other@b", dict(store), keys)
    ours = Agreement(client, "ours@a", dict(store), keys, lambda: dict(store))
    other.renew()
    ours.renew()
    store["scribe"] = checkpoint("base")
    ours.renew()
    now_s[0] += 10
    other.renew()
    with pytest.raises(CheckpointsDiffer, match=r"that of (other@b|ours@a) is tiny"):
        ours.renew()


def test_a_store_that_is_being_written_changes_no_registration(client: Redis) -> None:
    def look() -> dict[str, dict[str, str]]:
        raise ModelMissing("There is no model.")

    Agreement(client, "one@a", {"scribe": checkpoint("tiny")}, keys, look).renew()
    assert client.exists("golem:checkpoint:scribe")


def test_an_entry_that_a_stranger_wrote_is_shown_and_does_not_act(client: Redis) -> None:
    client.hset("golem:checkpoint:scribe", mapping={"checkpoint": b"\x1b[2J\xff", "box": "b\nox"})
    with pytest.raises(CheckpointsDiffer) as refused:
        Agreement(client, "two@b", {"scribe": checkpoint("base")}, keys).renew()
    assert refused.value.message.isprintable()


def test_a_worker_with_another_model_starts_only_when_the_live_ones_are_gone(redis_server, tmp_path) -> None:
    fleet = Fleet(redis_server.url, tmp_path)
    try:
        first = fleet.box("first", models="tiny")
        fleet.until(lambda: fleet.redis.exists("golem:checkpoint:scribe"))
        stranger = fleet.box("stranger", models="base")
        assert stranger.wait(60) == 1
        said = fleet.said(stranger)
        assert len(said.strip().splitlines()) == 1
        assert "base (float32" in said
        assert "tiny (float32" in said
        assert first.poll() is None
        os.killpg(first.pid, signal.SIGKILL)
        start = time.monotonic()
        fleet.box("stranger", models="base")
        fleet.submit(["j"])
        fleet.done(["j"])
        assert time.monotonic() - start < 22  # below the lease; the entry expires after 3 s
    finally:
        fleet.close()
