"""What a stopped system of release 0.1 or 0.2 has left in Redis is done by today's workers after `golem upgrade`.

The dumps come from the code of those releases: see `tests/support/old_wire.py`.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis

from golem_chain.broker import acl, wire
from golem_chain.broker import upgrade as moving
from golem_chain.broker.jobs.dead_letters import Letters
from golem_chain.broker.keys import Keys, hashed
from golem_chain.broker.monitoring import doctor
from golem_chain.broker.queues import STAGES
from golem_chain.broker.upgrade import upgrade
from golem_chain.broker.wire import OLD_UNACKED, OLD_UNACKED_INDEX, WIRE, Left
from golem_chain.shared.errors import BadRequest, WireDiffers
from tests.support.chain import Chain
from tests.support.old_wire import ROOT

keys = Keys()
DUMPS = {name: json.loads((Path(__file__).parent / "data" / f"wire-{name}.json").read_text()) for name in "12"}

#: What is done after the upgrade, with the words of the reply. Where the Interpreter had run already it said `other`.
SAID = {
    "held-scribe": "other: hold scribe",
    "held-interpreter": "other: hold interpreter",
    "held-oracle": "other: hold oracle",
    "stored-scribe": "turn_on: turn_on scribe",
    "stored-interpreter": "other: turn_on interpreter",
    "waits-interpreter": "turn_on: turn_on interpreter",
    "waits-oracle": "other: turn_on oracle",
    "queued-vault": ": turn_on vault",
    "queued-labels": "turn_on: turn_on labels",
    "queued-vocabulary": ": turn_on vocabulary",
    "queued-file": ": turn_on file",
}
#: The order in which the Scribe takes what was left to it: first what was in hand.
SCRIBES = ["held-scribe", "stored-scribe", "retried", "queued-vault", "queued-labels", "queued-vocabulary"]
SCRIBES += ["queued-file", "cancelled"]
LEFT = Left({"scribe": 5, "interpreter": 1, "oracle": 1}, 6)

FOREIGN = [json.dumps({"headers": {"task": f"shop.scribe{n}"}, "body": "golem.scribe"}) for n in range(5)]
FOREIGN += ["no JSON", '["golem.scribe"]', '{"headers": null}']
ENTRY = json.dumps([{"headers": {"task": "shop.scribe"}, "properties": {}}, "golem", "scribe"])


def load(client: redis.Redis, name: str, root: Path) -> None:
    """Fill an empty server with a dump; `root` takes the place of the folder of its files."""
    client.flushall()
    text = json.dumps(DUMPS[name]).replace(str(ROOT), str(root))
    for key, one in json.loads(text).items():
        value: Any = one["value"]
        if one["type"] == "string":
            client.set(key, value)
        elif one["type"] == "hash":
            client.hset(key, mapping=value)
        elif one["type"] == "set":
            client.sadd(key, *value)
        elif one["type"] == "list":
            client.rpush(key, *value)
        else:
            client.zadd(key, {member: score for member, score in value})  # noqa: C416
        if one["ttl_s"] > 0:
            client.expire(key, one["ttl_s"])


def strangers(client: redis.Redis) -> None:
    """Put another app's messages in and around ours, under the same names."""
    for foreign in FOREIGN[1:4]:
        client.linsert("scribe", "AFTER", client.lindex("scribe", 2) or b"", foreign)  # type: ignore[arg-type]
    client.lpush("scribe", FOREIGN[0], *FOREIGN[5:])
    client.rpush("scribe", FOREIGN[4])
    client.hset(OLD_UNACKED, "stock", ENTRY)
    client.zadd(OLD_UNACKED_INDEX, {"stock": 1})


def job_of(raw: bytes) -> str:
    return str(json.loads(raw)["headers"]["id"]).rpartition(".")[0]


def contents(client: redis.Redis) -> dict[bytes, Any]:
    """Return all keys with their contents."""
    return {key: client.dump(key) for key in client.scan_iter()}


@pytest.fixture
def chain(start_server, tmp_path):
    """A server with today's producer, whose worker is not started."""
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "clip.wav").write_bytes(b"turn_on file")
    made = Chain(start_server(tmp_path), tmp_path, audio_root=(tmp_path / "audio",), keep_s=600)
    made.root = tmp_path / "audio"
    yield made
    made.stop()


@pytest.fixture(params="12", ids=["0.1", "0.2"])
def old(request, chain):
    """The name of a dump that the chain's server holds."""
    load(chain.client, request.param, chain.root)
    return request.param


def test_every_job_of_the_older_release_ends_once_with_its_outcome(old, chain):
    before = {job: chain.pipeline.outcome(job) for job in ("done", "failed", "cancelled", "dead")}
    assert [one.state for one in before.values()] == ["done", "failed", "cancelled", "failed"]
    strangers(chain.client)
    foreign = [raw for raw in map(bytes.decode, chain.client.lrange("scribe", 0, -1)) if raw in FOREIGN]
    assert upgrade(chain.settings).moved == LEFT
    heard = chain.client.pubsub()
    heard.subscribe(keys.ended)
    chain.start_worker()
    found = chain.outcomes([*SAID, "retried"])
    assert {job: found[job].state for job in SAID} == dict.fromkeys(SAID, "done"), found
    assert {job: found[job].reply.text[-len(words) :] for job, words in SAID.items()} == SAID
    assert (found["retried"].state, found["retried"].error.code) == ("failed", "out-of-memory")
    assert {job: chain.pipeline.outcome(job) for job in before} == before
    [letter] = Letters(chain.client, keys).all()
    assert letter.job == "dead"
    Letters(chain.client, keys).retry(letter)
    assert chain.outcomes(["dead"])["dead"].reply.text.endswith(": die without /")
    chain.pipeline.submit(b"turn_on vault", id="queued-vault")  # the same request as before the upgrade
    findings = {one.check: one for one in doctor.of_redis(chain.settings)}
    assert {one.state for one in findings.values()} <= {"ok", "warning"}, findings
    assert findings["wire"].state == "ok"
    ended: Counter[str] = Counter()
    while message := heard.get_message(timeout=0.2):
        if message["type"] == "message":
            ended[message["data"].decode()] += 1
    assert ended == Counter(map(hashed, [*SAID, "retried", "dead"]))
    assert [raw.decode() for raw in chain.client.lrange("scribe", 0, -1)] == foreign
    assert Counter(foreign) == Counter(FOREIGN)
    assert chain.client.hgetall(OLD_UNACKED) == {b"stock": ENTRY.encode()}
    assert chain.client.zrange(OLD_UNACKED_INDEX, 0, -1, withscores=True) == [(b"stock", 1)]


def test_the_order_of_the_queues_and_the_counts_of_deliveries_are_kept(old, chain):
    chain.pipeline.submit(b"new", id="new")
    counts = chain.client.hgetall(keys.deliveries)
    held = {tag for _, tag in wire.held(chain.client, keys)}
    assert len(held) == LEFT.in_hand
    upgrade(chain.settings)
    assert [job_of(raw) for raw in reversed(chain.client.lrange(keys.queue("scribe"), 0, -1))] == [*SCRIBES, "new"]
    last = [job_of(raw) for raw in reversed(chain.client.lrange(keys.queue("oracle"), 0, -1))]
    assert last == ["held-oracle", "waits-oracle"]
    assert chain.client.hgetall(keys.deliveries) == counts
    assert {counts[tag] for tag in held} == {b"1"}
    assert not chain.client.exists(*STAGES, OLD_UNACKED, OLD_UNACKED_INDEX, keys.unacked, keys.unacked_index)


def test_a_second_run_and_a_dry_run_change_nothing(old, chain):
    before = contents(chain.client)
    assert upgrade(chain.settings, dry_run=True).moved == LEFT
    assert contents(chain.client) == before
    upgrade(chain.settings)
    after = contents(chain.client)
    assert upgrade(chain.settings).moved == Left({})
    assert contents(chain.client) == after


class Killed(BaseException):
    """The process ends here."""


def test_a_run_that_was_killed_after_any_command_is_completed_by_the_next(old, chain, monkeypatch):
    monkeypatch.setattr(moving, "STEP", 2)
    strangers(chain.client)
    start = {key: (chain.client.dump(key), chain.client.pttl(key)) for key in chain.client.scan_iter()}
    assert upgrade(chain.settings).moved == LEFT
    wanted, execute = contents(chain.client), redis.Redis.execute_command
    for commands in range(1, 1000):
        chain.client.flushall()
        for key, (body, ttl_ms) in start.items():
            chain.client.restore(key, max(0, ttl_ms), body)
        left = commands

        def dying(client, *words, **options):
            nonlocal left
            if not left:
                raise Killed
            left -= 1
            return execute(client, *words, **options)

        with monkeypatch.context() as patch:
            patch.setattr(redis.Redis, "execute_command", dying)
            try:
                upgrade(chain.settings)
            except Killed:
                pass
            else:
                break
        upgrade(chain.settings)
        assert contents(chain.client) == wanted, commands
    assert commands > 20


def golem(chain, *words):
    """Run a command as its user does; return exit code, standard output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env={**os.environ, **chain.env},
        cwd=chain.folder,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_worker_that_meets_an_older_release_names_the_remedy_and_touches_nothing(old, chain):
    before = contents(chain.client)
    code, _, told = golem(chain, "golem_chain.workers", "worker")
    assert code == 1
    assert (
        told.strip()
        .splitlines()[-1]
        .endswith("holds messages of an older release: stop all workers and run golem upgrade.")
    )
    assert contents(chain.client) == before
    [finding] = [one for one in doctor.of_redis(chain.settings) if one.check == "wire"]
    assert finding.message == "Messages of an older release wait (scribe 5, interpreter 1, oracle 1, in hand 6)"


def test_the_workers_own_user_notices_an_older_release_and_is_told_which_user_can_upgrade(old, chain):
    chain.client.execute_command("ACL", "SETUSER", "worker", "on", ">word", *acl.rules("golem")["worker"].split())
    before = contents(chain.client)
    url = f"redis://worker:word@127.0.0.1:{chain.server.port}/0"
    with pytest.raises(BadRequest, match="run golem upgrade as a user with all rights"):
        upgrade(chain.settings.model_copy(update={"redis_url": url}))
    chain.env["GOLEM_REDIS_URL"] = url
    code, _, told = golem(chain, "golem_chain.workers", "worker")
    assert code == 1
    assert "holds messages of an older release: stop all workers and run golem upgrade." in told
    assert contents(chain.client) == before


def test_nothing_is_moved_while_a_worker_of_any_release_runs(old, chain):
    before = contents(chain.client)
    chain.client.hset(keys.box("old@host"), "token", "x")
    with pytest.raises(BadRequest, match=r"has running workers \(old@host\): stop them, then run golem upgrade again"):
        upgrade(chain.settings)
    chain.client.delete(keys.box("old@host"))
    assert contents(chain.client) == before


def test_a_worker_does_not_start_beside_one_of_an_older_release(chain):
    chain.client.hset(keys.box("old@host"), "token", "x")
    code, _, told = golem(chain, "golem_chain.workers", "worker")
    assert code == 1
    assert "holds a running worker of an older release (old@host): stop all workers and run golem upgrade." in told
    assert not chain.client.exists(keys.wire)


def test_the_command_says_in_words_and_in_json_what_was_moved(old, chain):
    code, told, _ = golem(chain, "golem_chain.broker.cli", "upgrade", "--dry-run", "--json")
    assert code == 0
    assert json.loads(told) == {
        "wire": WIRE, "was": None, "dry_run": True, "in_hand": 6,
        "waiting": {"scribe": 5, "interpreter": 1, "oracle": 1},
    }  # fmt: skip
    code, _, told = golem(chain, "golem_chain.broker.cli", "upgrade")
    assert (code, told.splitlines()) == (0, [
        "golem: Moved 7 jobs that waited to the new queues (scribe 5, interpreter 1, oracle 1).",
        "golem: Moved 6 jobs that workers had in hand to the head of the queues.",
        "golem: The system is ready: start the workers of this release, and upgrade the producers.",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("version", "remedy"), [("2", "run golem upgrade"), (str(int(WIRE) + 1), "use the release that wrote it")]
)
def test_a_producer_that_meets_another_version_writes_nothing(chain, version, remedy):
    chain.client.set(keys.wire, version)
    for audio in (b"bytes", chain.root / "clip.wav"):
        with pytest.raises(WireDiffers, match=f"holds a system of wire version {version}, this is {WIRE}: .*{remedy}"):
            chain.pipeline.submit(audio, id="j")
    assert chain.client.keys() == [keys.wire.encode()]


def test_a_worker_and_an_upgrade_that_meet_a_later_version_stop(chain):
    newer = str(int(WIRE) + 1)
    chain.client.set(keys.wire, newer)
    code, _, told = golem(chain, "golem_chain.workers", "worker")
    assert code == 1
    assert f"holds a system of wire version {newer}, this is {WIRE}: use the release that wrote it" in told
    with pytest.raises(WireDiffers):
        upgrade(chain.settings)
    assert chain.client.get(keys.wire) == newer.encode()


def test_jobs_of_release_0_3_are_finished_after_an_upgrade(chain):
    jobs = [chain.pipeline.submit(f"words {n}".encode()) for n in range(5)]
    for job in jobs:  # 0.3 neither noted where a job is nor which message is its current one
        chain.client.hdel(keys.job(job), "at", "tag", "lane")
    chain.client.set(keys.wire, "3")
    assert upgrade(chain.settings).was == "3"
    chain.start_worker()
    assert {one.state for one in chain.outcomes(jobs).values()} == {"done"}


def test_a_producer_may_come_first_and_a_worker_sets_the_version(chain):
    chain.client.lpush("scribe", *FOREIGN)  # of another app: no reason to stop
    chain.client.hset(OLD_UNACKED, "stock", ENTRY)
    job = chain.pipeline.submit(b"hello")
    assert not chain.client.exists(keys.wire)
    chain.start_worker()
    assert chain.client.get(keys.wire) == WIRE.encode()
    assert chain.outcomes([job])[job].state == "done"


def test_a_worker_sets_the_version_again_on_a_server_that_lost_its_data(chain, eventually):
    chain.start_worker()
    chain.client.delete(keys.wire)
    chain.client.execute_command("CLIENT", "KILL", "TYPE", "normal")
    assert eventually(lambda: chain.client.get(keys.wire)) == WIRE.encode()


def test_old_names_that_hold_something_else_are_left_alone(chain):
    for name in (*STAGES, OLD_UNACKED):
        chain.client.set(name, "theirs")
    assert upgrade(chain.settings).moved == Left({})
    assert chain.client.get("scribe") == b"theirs"


def test_a_forgotten_producer_of_an_older_release_is_noticed_and_its_jobs_are_not_lost(old, chain):
    queued = chain.client.lrange("scribe", 0, -1)
    upgrade(chain.settings)
    chain.client.lpush("scribe", *queued[:2])
    [finding] = [one for one in doctor.of_redis(chain.settings) if one.check == "wire"]
    assert finding.state == "wrong"
    assert finding.message.endswith("still submits jobs, which no worker serves (scribe 2)")
    assert upgrade(chain.settings).moved == Left({"scribe": 2})


def test_a_system_with_another_prefix_takes_nothing_of_an_older_release(old, chain):
    before = contents(chain.client)
    assert upgrade(chain.settings.model_copy(update={"prefix": "site"})).moved == Left({})
    assert chain.client.get("site:wire") == WIRE.encode()
    chain.client.delete("site:wire")
    assert contents(chain.client) == before
