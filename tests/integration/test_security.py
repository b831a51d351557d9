"""Security on a real server: permissions of each user, TLS, and secrets that must never appear in output."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from golem_chain.broker import acl
from golem_chain.broker.cli import main
from golem_chain.broker.connection import check_broker, connect
from golem_chain.broker.jobs.dead_letters import Letters
from golem_chain.broker.jobs.label_sets import LabelSets
from golem_chain.broker.jobs.summaries import Summaries
from golem_chain.broker.keys import Keys, hashed
from golem_chain.broker.monitoring import status, timeline
from golem_chain.broker.owner import owner_of
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.transport import scripts
from golem_chain.broker.webhooks.outbox import Outbox
from golem_chain.broker.webhooks.policy import Policy
from golem_chain.shared.errors import BrokerAway
from golem_chain.shared.labels import parse_labels
from golem_chain.shared.records import JobOptions
from golem_chain.shared.settings import Settings
from tests.support.blocking import Blocking
from tests.support.chain import Chain
from tests.support.deliverer import delivering
from tests.support.door import serving
from tests.support.paths import ROOT
from tests.support.receiver import SECRET, Receiver
from tests.support.wyoming import connected, conversing, replied, say, transcribed, until

keys = Keys()

#: Fields of an ACL LOG entry.
WHAT = ("username", "reason", "object")
PASSWORDS = {user: f"{user}-pass-word" for user in acl.USERS}


class Users:
    """A running chain on a server with the default user disabled; `as_` returns the settings of one user."""

    chain: Chain

    def __init__(self, server, folder):
        self.server = server
        with redis.Redis.from_url(server.url) as admin:
            admin.execute_command("ACL", "SETUSER", "root", "on", ">root-pass", "~*", "&*", "+@all")
        self.root = redis.Redis(port=server.port, username="root", password="root-pass")
        for line in reversed(acl.render(PASSWORDS, "golem").splitlines()):
            self.root.execute_command("ACL", "SETUSER", *line.split()[1:])
        self.root.function_load(scripts.library(), replace=True)
        self.folder = folder

    def url(self, user):
        return f"redis://{user}:{PASSWORDS[user]}@127.0.0.1:{self.server.port}/0"

    def as_(self, user):
        return Settings.read(_env_file=None, redis_url=self.url(user), keep_s=60)


class Behind:
    """A server as seen by a worker that connects as its own user."""

    def __init__(self, users):
        self.url, self.stop, self.port = users.url("worker"), users.server.stop, users.server.port


@pytest.fixture(scope="module")
def users(start_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("acl")
    with start_server(folder / "server") as server:
        made = Users(server, folder)
        made.chain = Chain(Behind(made), folder)
        try:
            made.chain.start_worker()
            yield made
        finally:
            made.chain.stop()
            made.root.close()


def test_with_a_user_for_each_the_whole_chain_runs_and_nothing_is_refused(users):
    users.root.execute_command("ACL", "LOG", "RESET")
    many = ",".join(f'thing{n}="the speaker wants thing number {n}"' for n in range(200))
    Outbox(users.root, keys).open(Policy())
    with Pipeline(users.as_("producer")) as pipeline:
        jobs = [pipeline.submit(text, labels="a,b") for text in (b"a", b"silence", b"die")]
        jobs.append(pipeline.submit(b"thing7", labels=many))
        assert pipeline.submit(b"b", labels="a,b", id_from="content") == (
            again := pipeline.submit(b"b", labels="a,b", id_from="content")
        )
        assert [outcome.state for outcome in pipeline.wait([again], 60)] == ["done"]
        jobs += [pipeline.submit(text="a", labels="a,b"), pipeline.submit(text="a", intent="b", labels="a,b")]
        more = pipeline.submit_many(
            texts=["a", "b", "a"], options=JobOptions(group="night", lane="interactive", stop="interpreter")
        )
        assert not [one for one in more if one.error]
        assert len(list(pipeline.group("night").wait(timeout_s=60))) == pipeline.group("night").status().done == 3
        dated = pipeline.submit(b"a", labels="a,b", expires_s=600, group="dated", webhook="https://example.org/hook")
        jobs.append(dated)
        pipeline.promote(dated)
        assert dated in [one.job for one in pipeline.mine()]
        pipeline.progress(jobs)
        found = {outcome.job: outcome.state for outcome in pipeline.wait(jobs, 60)}
        late = pipeline.submit(b"sleep 30")
        assert pipeline.cancel(late).state == "cancelled"
        assert pipeline.group("dated").cancel().cancelled_at
    assert [found.get(job) for job in jobs] == [*["done", "done", "failed", "done", "done", "done", "done"]], refusals(
        users
    )
    assert users.root.xlen(keys.outbox) == 1
    users.root.delete(keys.outbox, keys.webhooks_ready)
    state = status.read(users.as_("monitor"))
    assert state["dead"] == 1
    assert list(state["boxes"])
    with connect(users.as_("monitor")) as client:
        [letter] = Letters(client, keys).all()
        assert timeline.read(client, 0, keys)
    assert letter.job == jobs[2]
    said = {(one[b"username"], one[b"object"]) for one in refusals(users)}
    assert said == {(b"producer", b"evalsha")}, "tried once, then it calls functions"


def test_a_submitter_pages_through_its_list_and_stores_label_sets_but_cannot_tell_what_is_in_hand(users):
    users.root.execute_command("ACL", "LOG", "RESET")
    with Pipeline(users.as_("producer")) as pipeline, connect(users.as_("producer")) as client:
        owner, job = owner_of(pipeline.settings), pipeline.submit(b"sleep 1")
        summaries, sets = Summaries(client, keys), LabelSets(client, keys, owner)
        assert summaries.older(owner, None, 1)[0].job == job
        [shown] = summaries.look(owner, [job])
        assert shown
        assert shown.state == "waiting"
        pipeline.cancel(job)
        sets.put("kitchen", parse_labels("a,b"))
        assert sets.names() == ["kitchen"]
        assert sets.get("kitchen")
        assert sets.drop("kitchen")
    assert {one[b"object"] for one in refusals(users)} == {b"evalsha", keys.unacked_index.encode()}


def test_a_webhook_goes_from_a_producer_to_its_receiver_and_nothing_is_refused(users, eventually):
    users.root.execute_command("ACL", "LOG", "RESET")
    receiver = Receiver()
    receiver.plan["/in"] = ["500", "500", "410"]
    allowed = {"webhook_secret": SECRET, "webhook_http": "1", "webhook_private": "1"}
    asked = users.as_("deliverer").model_copy(update=allowed)
    try:
        with (
            delivering(asked),
            Pipeline(users.as_("producer")) as pipeline,
            connect(users.as_("deliverer")) as client,
        ):
            eventually(lambda: users.root.exists(keys.webhooks_ready))
            jobs = [pipeline.submit(text="a", labels="a,b", webhook=receiver.url("/in"), id="told")]
            [dead] = eventually(Outbox(client, keys).dead, told=lambda: refusals(users))
            Outbox(client, keys).retry(dead["id"])
            jobs.append(pipeline.submit(b"sleep 30", webhook=receiver.url("/in")))
            pipeline.cancel(jobs[1])
            eventually(lambda: len(receiver.requests) == 5, told=lambda: refusals(users))
            assert not Outbox(client, keys).dead()
    finally:
        receiver.stop()
    assert {(one[b"username"], one[b"object"]) for one in refusals(users)} == {(b"producer", b"evalsha")}


def test_a_door_runs_on_rights_of_its_own_and_nothing_is_refused(users, eventually):
    users.root.execute_command("ACL", "LOG", "RESET")
    with serving(users.as_("door")) as url, httpx.Client(base_url=url, timeout=20) as client:
        eventually(lambda: client.get("/ready").status_code == 200, told=lambda: refusals(users))
        sent = {"file": ("a.wav", b"hello" * 100_000)}
        heard = client.post("/v1/audio/transcriptions", files=sent, data={"model": "whisper-1"})
        assert heard.json()["text"] == "hello" * 100_000, refusals(users)
        assert client.post("/v1/audio/transcriptions", files={"file": ("a.wav", b"")}).status_code == 400
        users.root.zadd(keys.vault_leaving, {"upload:old": 1})
        users.root.hset(keys.vault_sizes, "upload:old", 5)
        with Pipeline(users.as_("producer")) as pipeline:
            pipeline.cancel(pipeline.submit(b"what expires makes room"))
        assert not users.root.hexists(keys.vault_sizes, "upload:old"), refusals(users)
        files, asked = {"file": ("clip.wav", b"hello")}, {"labels": "a,b", "group": "night"}
        [job] = client.post("/v1/jobs", files=files, data=asked).json()["jobs"]
        assert job["error"] is None, refusals(users)
        path = f"/v1/jobs/{job['id']}"
        outcome = eventually(lambda: client.get(path).json()["outcome"], told=lambda: refusals(users))
        assert outcome["state"] == "done"
        dead = users.chain.pipeline.submit(b"die", labels="a,b")
        users.chain.outcomes([dead])
        letters = eventually(lambda: client.get("/v1/dead-letters").json()["letters"])
        for letter in [one["letter"] for one in letters if one["job"] == dead]:
            assert client.post(f"/v1/dead-letters/{letter}/retry").json() == {"job": dead}, refusals(users)
        users.chain.outcomes([dead])
        for letter in eventually(lambda: client.get("/v1/dead-letters").json()["letters"]):
            assert client.delete(f"/v1/dead-letters/{letter['letter']}").status_code == 204
        scraped = client.get("/metrics").text
        assert "golem_up 1.0" in scraped
        for name in ("webhooks_outbox", "webhooks_dead", "webhooks_late_seconds", "vault_bytes"):
            assert f"\ngolem_{name} " in scraped
        assert 'golem_jobs_ended_total{state="done"}' in scraped
        with client.stream("GET", "/v1/system/events", params={"last_s": 60}) as answer:
            assert "event: batch" in (line for line in answer.iter_lines())
    allowed = {(b"door", b"evalsha"), (b"producer", b"evalsha")}
    assert {(one[b"username"], one[b"object"]) for one in refusals(users)} <= allowed


def test_so_does_wyoming(users):
    users.root.execute_command("ACL", "LOG", "RESET")

    def waiting():
        return next((one.job for one in users.chain.pipeline.mine() if one.state == "waiting"), None)

    async def main(server):
        heard = await transcribed(server, b"turn it on")
        assert heard.data["text"] == "turn it on", refusals(users)
        assert (await replied(server, "lights_on")).type == "handled"
        async with connected(server) as client:
            await say(client, b"sleep 5")
            job = await until(
                lambda: next((one for one in users.chain.pipeline.mine() if one.state == "waiting"), None)
            )
        await until(lambda: users.chain.pipeline.outcome(job.job))

    conversing(users.as_("door"), main)
    assert {(one[b"username"], one[b"object"]) for one in refusals(users)} <= {(b"door", b"evalsha")}


def refusals(users):
    """Return user, reason and object of each denied command in the server's log."""
    log = users.root.execute_command("ACL", "LOG")
    entries = [entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True)) for entry in log]
    return [{key: value for key, value in entry.items() if key in WHAT or key.decode() in WHAT} for entry in entries]


EVERYBODY = ["FLUSHALL", "FLUSHDB", "CONFIG GET requirepass", "CONFIG SET dir /tmp", "KEYS *", "ACL LIST", "SAVE",
             "SHUTDOWN", "MONITOR", "GET others", "SET others x", "SUBSCRIBE others", "SCRIPT FLUSH",
             "CLIENT LIST", "REPLICAOF a 1", "FUNCTION LIST", "FUNCTION DELETE x", "MODULE LIST", "PUBLISH others x",
             "LPUSH scribe x", "SMEMBERS _kombu.binding.golem"]  # fmt: skip
AUDIO = f"golem:vault:{hashed('x')}"
#: What docs/security.md says that a user may not do, and commands that try it.
CLAIMS = {
    "producer": {
        "read or empty a queue": ["LRANGE golem:queue:scribe 0 -1", "LINDEX golem:queue:scribe 0",
                                  "RPOP golem:queue:scribe", "DEL golem:queue:scribe", "LLEN golem:queue:scribe",
                                  "LTRIM golem:queue:scribe 1 0", "RPOP golem:queue:oracle", "DEL golem:queue:oracle",
                                  "LRANGE golem:queue:scribe:interactive 0 -1", "DEL golem:queue:scribe:interactive"],
        "list ids": ["SCAN 0", "HGETALL golem:unacked", "HKEYS golem:holders", "SMEMBERS golem:labels-users:00",
                     "XRANGE golem:events - +", "PSUBSCRIBE golem:*", "CLIENT TRACKING ON BCAST",
                     "ZRANGE golem:expiring 0 -1", "DEL golem:expiring", "XRANGE golem:outbox - +",
                     "XREAD STREAMS golem:outbox 0", "DEL golem:outbox", "XTRIM golem:outbox MAXLEN 0"],
        "read audio": [f"GET {AUDIO}", f"GETRANGE {AUDIO} 0 9", f"COPY {AUDIO} golem:job:x",
                       f"RENAME {AUDIO} golem:job:x", "GET golem:upload:x", "APPEND golem:upload:x y",
                       "SET golem:upload:x y", "STRLEN golem:upload:x", f"RENAME golem:upload:x {AUDIO}"],
        "run scripts": ["EVAL return(1) 0", "EVALSHA ff 0", "SCRIPT LOAD return(1)", "EVAL while(true)do(1)end 0",
                        "FUNCTION LOAD x"],
        "read dead letters": ["LRANGE golem:dead 0 -1", "LRANGE golem:dying 0 -1"],
        "read or empty the outbox, read webhooks": [
            "XRANGE golem:outbox - +", "XREAD STREAMS golem:outbox 0", "XLEN golem:outbox", "XDEL golem:outbox 1-0",
            "XTRIM golem:outbox MAXLEN 0", "DEL golem:outbox", "SET golem:outbox x", "GET golem:outbox",
            "HGETALL golem:webhook:x", "HSET golem:webhook:x url y", "ZADD golem:webhooks 0 x",
            "SET golem:webhooks-ready x", "LRANGE golem:webhooks-dead 0 -1", "ZRANGE golem:webhooks:https://a 0 -1"],
        "reset the totals": ["DEL golem:totals", "HSET golem:totals done 0", "HDEL golem:totals done",
                             "HGETALL golem:totals", "EXPIRE golem:totals 1"],
        "replace the secret of ids from content": ["SET golem:salt x", "DEL golem:salt", "GETDEL golem:salt",
                                                   "EXPIRE golem:salt 1", "RENAME golem:job:x golem:salt"],
        "touch workers": ["HSET golem:box:x a b", "HGETALL golem:box:x", "DEL golem:unacked", "SET golem:wire x",
                          "PUBLISH golem:fanout:0.celery.pidbox x"],
    },
    "door": {
        "empty a queue": ["RPOP golem:queue:scribe", "DEL golem:queue:scribe", "LTRIM golem:queue:scribe 1 0",
                          "LREM golem:queue:scribe 1 x", "DEL golem:queue:scribe:interactive", "RPOP golem:dead",
                          "DEL golem:dead", "DEL golem:outbox", "XTRIM golem:outbox MAXLEN 0"],
        "read audio": [f"GET {AUDIO}", f"GETRANGE {AUDIO} 0 9", f"COPY {AUDIO} golem:job:x",
                       f"RENAME {AUDIO} golem:job:x", f"RENAME {AUDIO} golem:upload:x", f"DUMP {AUDIO}",
                       f"RENAME {AUDIO} {AUDIO}1", "GET golem:upload:x", "GETRANGE golem:upload:x 0 9",
                       "RENAME golem:upload:x golem:job:x", "COPY golem:upload:x golem:job:x",
                       "DUMP golem:upload:x"],
        "run scripts": ["EVAL return(1) 0", "EVALSHA ff 0", "SCRIPT LOAD return(1)", "FUNCTION LOAD x"],
        "read webhooks": ["XRANGE golem:outbox - +", "XREAD STREAMS golem:outbox 0", "HGETALL golem:webhook:x",
                          "LRANGE golem:webhooks-dead 0 -1", "ZRANGE golem:webhooks:https://a 0 -1"],
        "touch workers": ["HSET golem:box:x a b", "DEL golem:unacked", "HSET golem:unacked x y", "SET golem:wire x",
                          "ZADD golem:unacked-index 0 x", "PUBLISH golem:fanout:0.celery.pidbox x",
                          "XADD golem:events * event x"],
    },
    "worker": {
        "flush or configure the server": ["FLUSHALL", "CONFIG GET requirepass"],
        "use other keys or channels": ["RPOP scribe", "GET golem2:outcome:x", "PSUBSCRIBE /0.celery.pidbox",
                                       "LPUSH scribe x", "DEL unacked", "HGET unacked x", "ZRANGE unacked_index 0 -1",
                                       "PUBLISH golem2:ended x", "PUBLISH /0.celery.pidbox x"],
    },
    "deliverer": {
        "read or end jobs": ["HGETALL golem:job:x", "HGET golem:job:x job", "SET golem:outcome:x y",
                             "DEL golem:outcome:x", "PUBLISH golem:ended x", "FCALL golem_x 0"],
        "read audio": [f"GET {AUDIO}", f"EVAL return(redis.call('GET','{AUDIO}')) 0"],
        "read or fill a queue": ["LPUSH golem:queue:scribe x", "LRANGE golem:queue:scribe 0 -1",
                                 "RPOP golem:queue:scribe", "HGET golem:unacked x"],
        "use other keys or channels": ["SET golem:wire x", "LRANGE golem:dead 0 -1", "SCAN 0",
                                       "XRANGE golem:events - +",
                                       "SUBSCRIBE golem:ended", "HGET golem:box:x a", "GET golem:labels:00",
                                       "PUBLISH golem:fanout:0.celery.pidbox x"],
    },
    "monitor": {
        "write anything": ["LPUSH golem:queue:scribe x", "DEL golem:dead", "SET golem:outcome:x y",
                           "HSET golem:box:x a b", "EVAL return(redis.call('DEL','golem:dead')) 0"],
        "read audio, jobs, outcomes or webhooks": [f"GET {AUDIO}", "HGETALL golem:job:x", "GET golem:outcome:x",
                                                   "GET golem:labels:00", "GET golem:vocabulary:00",
                                                   "ZRANGE golem:expiring 0 -1", "HGETALL golem:group:x",
                                                   "XRANGE golem:group-ends:x - +", "ZRANGE golem:owner:x 0 -1",
                                                   "XRANGE golem:outbox - +", "HGETALL golem:webhook:x",
                                                   "LRANGE golem:webhooks-dead 0 -1"],
    },
    "flower": {
        "read or fill a queue": ["LPUSH golem:queue:scribe x", "LRANGE golem:queue:scribe 0 -1"],
        "read audio, jobs, outcomes or dead letters": [f"GET {AUDIO}", "HGETALL golem:job:x", "GET golem:outcome:x",
                                                       "DEL golem:dead", "LRANGE golem:dead 0 -1",
                                                       "CLIENT TRACKING ON BCAST"],
        "touch messages in hand": ["HGETALL golem:unacked", "ZADD golem:unacked-index 0 x",
                                   "EVAL return(redis.call('DEL','golem:dead')) 0"],
    },
}  # fmt: skip


@pytest.mark.parametrize("user", acl.USERS)
def test_the_page_says_of_each_user_what_is_tried_here(user):
    [row] = re.findall(rf"^\| {user} \| .+ \| (.+) \|$", (ROOT / "docs" / "security.md").read_text(), re.M)
    assert row.split("; ") == list(CLAIMS[user])


@pytest.mark.parametrize(("user", "claim"), [(user, claim) for user in CLAIMS for claim in CLAIMS[user]])
def test_no_user_does_what_the_page_denies_him(users, user, claim):
    refused(users, user, CLAIMS[user][claim])


@pytest.mark.parametrize("user", acl.USERS)
def test_no_user_reaches_beyond_what_is_his(users, user):
    users.root.set("others", "secret")
    refused(users, user, [one for one in EVERYBODY if user != "worker" or "SCRIPT" not in one or "FLUSH" in one])


def refused(users, user, commands):
    with redis.Redis.from_url(users.url(user)) as client:
        client.ping()
        for command in commands:
            try:
                answer = client.execute_command(*command.split())
            except redis.ResponseError as exc:
                answer = exc
            assert "ermission" in str(answer), (command, answer)


def test_a_producer_without_the_functions_of_its_release_is_told_who_loads_them(users, monkeypatch):
    monkeypatch.setattr(scripts, "_library_name", lambda: "golem_other")
    with (
        Pipeline(users.as_("producer")) as pipeline,
        pytest.raises(BrokerAway, match="an administrator has to run golem functions --load"),
    ):
        pipeline.submit(b"a")


def test_an_administrator_loads_the_functions_and_two_releases_live_side_by_side(users, monkeypatch, capsys):
    monkeypatch.setenv("GOLEM_REDIS_URL", f"redis://root:root-pass@127.0.0.1:{users.server.port}/0")
    users.root.function_load("#!lua name=golem_older\nredis.register_function('golem_older_submit', function() end)")
    monkeypatch.setattr(sys, "argv", ["golem", "functions", "--load"])
    for _ in range(2):
        with pytest.raises(SystemExit) as left:
            main.main()
        assert not left.value.code
    assert "root-pass" not in "".join(capsys.readouterr())
    with Pipeline(users.as_("producer")) as pipeline:
        assert pipeline.cancel(pipeline.submit(b"a")).state == "cancelled"
    users.root.function_delete("golem_older")


def test_a_producer_that_hears_every_end_cannot_tell_whose(users):
    with redis.Redis.from_url(users.url("producer")) as listener, Pipeline(users.as_("producer")) as pipeline:
        ends = listener.pubsub(ignore_subscribe_messages=True)
        ends.subscribe("golem:ended")
        job = pipeline.submit(b"a", labels="a,b")
        assert [outcome.state for outcome in pipeline.wait([job], 60)] == ["done"]
        end = time.monotonic() + 30
        while not (told := ends.get_message(timeout=1)):
            assert time.monotonic() < end
        assert told["data"] == hashed(job).encode()
        assert job not in str(listener.hgetall("golem:vault-sizes"))
        ends.close()


def test_flower_has_a_user_of_its_own_who_hears_and_asks_workers_and_is_refused_nothing(users, tmp_path):
    pytest.importorskip("flower")
    users.root.execute_command("ACL", "LOG", "RESET")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    login = "me:long enough"
    env = os.environ | {"GOLEM_REDIS_URL": users.url("flower"), "GOLEM_FLOWER_PORT": str(port)}
    with (tmp_path / "log").open("w") as log:
        flower = subprocess.Popen(
            [sys.executable, "-m", "golem_chain.broker.cli", "flower"],
            env=env | {"GOLEM_FLOWER_AUTH": login}, cwd=tmp_path, stderr=log, stdout=log,
        )  # fmt: skip
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/workers?refresh=1")
    asked.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    told: dict[str, Any] = {}
    end = time.monotonic() + 60
    try:
        while not any("stats" in one for one in told.values()):
            assert time.monotonic() < end, (told, refusals(users))
            time.sleep(0.2)
            with suppress(urllib.error.URLError), urllib.request.urlopen(asked, timeout=10) as answer:
                told = json.load(answer)
    finally:
        flower.terminate()
        flower.wait(60)
    assert refusals(users) == []


def test_nobody_comes_in_without_a_name_or_with_a_wrong_password(users):
    place = f"127.0.0.1:{users.server.port}/0"
    for login in ("", ":guess@", "producer:guess-word@", "default:x@", "nobody:x@"):
        with pytest.raises(BrokerAway, match="rejected the password") as refused:
            check_broker(Settings.read(_env_file=None, redis_url=f"redis://{login}{place}"))
        assert "guess" not in refused.value.message


def test_a_user_who_may_not_do_something_is_told_so_in_one_sentence(users):
    with pytest.raises(BrokerAway, match="denied this user a command"), Pipeline(users.as_("monitor")) as pipeline:
        pipeline.submit(b"a")


def test_a_producer_may_ask_that_replicas_confirm_its_submits(users):
    asking = users.as_("producer").model_copy(update={"redis_wait": 1})
    with Pipeline(asking) as pipeline, pytest.raises(BrokerAway, match="had the job on 0 of 1 replicas"):
        pipeline.submit(b"a")


def test_no_password_is_in_a_log_a_status_or_the_arguments_of_a_process(users, capsys, monkeypatch):
    monkeypatch.setenv("GOLEM_REDIS_URL", users.url("monitor"))
    for words in (["status"], ["status", "--json"], ["dead", "list"], ["dead", "show", "--all"]):
        monkeypatch.setattr(sys, "argv", ["golem", *words])
        with pytest.raises(SystemExit):
            main.main()
    shown = "".join(capsys.readouterr()) + users.chain.log.read_text() + repr(users.chain.settings)
    shown += Path(f"/proc/{users.chain.worker.pid}/cmdline").read_text()
    for secret in PASSWORDS.values():
        assert secret not in shown
    assert "boxes" in shown


def test_the_file_holds_hashes_and_made_up_passwords_are_said_once(tmp_path):
    env = {key: value for key, value in os.environ.items() if not key.startswith("GOLEM_")}
    env |= {"GOLEM_ACL_WORKER": "chosen-by-me"}
    made = subprocess.run(
        [sys.executable, "-m", "golem_chain.broker.acl"], env=env, capture_output=True, text=True, check=True
    )
    said = dict(line.split(": ") for line in made.stderr.splitlines())
    assert set(said) == {"producer", "door", "deliverer", "monitor", "flower"}
    assert not any(secret in made.stdout for secret in (*said.values(), "chosen-by-me"))
    assert made.stdout.startswith("user default off")


# -- TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A TLS-only server with a self-signed certificate: (port, folder with ca.pem)."""
    program = shutil.which("redis-server")
    if not program or not shutil.which("openssl"):
        pytest.skip("TLS needs redis-server (the embedded server has none) and openssl")
    folder = tmp_path_factory.mktemp("tls")
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-days", "2", "-keyout", "key.pem", "-out", "ca.pem", *name]
    subprocess.run(made, cwd=folder, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = ["--port", "0", "--tls-port", str(port), "--tls-cert-file", "ca.pem", "--tls-key-file", "key.pem"]
    given += ["--tls-ca-cert-file", "ca.pem", "--tls-auth-clients", "no", "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen([program, *given, "--requirepass", "pw"], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if server.poll() is not None:
                    pytest.skip("this redis-server was built without TLS")
                assert time.monotonic() < end
                time.sleep(0.02)
        yield port, folder
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def secure(tls, query="", host="localhost"):
    port, _ = tls
    return Settings.read(_env_file=None, redis_url=f"rediss://:pw@{host}:{port}/0{query}")


def test_a_job_crosses_tls_and_the_certificate_is_checked(tls):
    port, folder = tls
    trusted = secure(tls, f"?ssl_ca_certs={folder}/ca.pem")
    check_broker(trusted)
    for kind in (Pipeline, Blocking):
        with kind(trusted) as pipeline:
            assert pipeline.outcome(pipeline.submit(b"a")) is None
    for settings in (
        secure(tls),  # unknown CA
        secure(tls, f"?ssl_ca_certs={folder}/ca.pem", host="127.0.0.2"),  # wrong host name
        Settings.read(_env_file=None, redis_url=f"redis://:pw@localhost:{port}/0"),  # without TLS
    ):
        with pytest.raises(BrokerAway) as refused:
            check_broker(settings)
        assert "pw" not in refused.value.message
        with Blocking(settings) as pipeline, pytest.raises(BrokerAway) as likewise:
            pipeline.outcome("a")
        assert likewise.value.message == refused.value.message


def test_an_untrusted_certificate_is_named_as_such(tls):
    with pytest.raises(BrokerAway, match="certificate"):
        check_broker(secure(tls))


def reached(settings):
    with suppress(BrokerAway):
        check_broker(settings)
        return True
    return False


def test_sentinels_and_the_primary_that_they_name_are_reached_over_tls(tls, tmp_path, eventually):
    program, (port, folder) = shutil.which("redis-server"), tls
    assert program
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        asked = probe.getsockname()[1]
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port 0\ntls-port {asked}\nbind 127.0.0.1\ntls-replication yes\ntls-auth-clients no\n"
        + "".join(
            f"tls-{key}-file {folder}/{name}.pem\n" for key, name in [("cert", "ca"), ("key", "key"), ("ca-cert", "ca")]
        )
        + f"sentinel monitor golem 127.0.0.1 {port} 1\nsentinel auth-pass golem pw\n"
    )
    sentinel = subprocess.Popen([program, str(config), "--sentinel"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    url = f"sentinels://:pw@127.0.0.1:{asked}/0?master=golem"
    trusted = Settings.read(_env_file=None, redis_url=f"{url}&ssl_ca_certs={folder}/ca.pem")
    try:
        eventually(lambda: reached(trusted))
        with Pipeline(trusted) as pipeline:
            assert pipeline.outcome(pipeline.submit(b"a")) is None
        with pytest.raises(BrokerAway, match="certificate"):
            check_broker(Settings.read(_env_file=None, redis_url=url))
    finally:
        sentinel.kill()
        sentinel.wait()
