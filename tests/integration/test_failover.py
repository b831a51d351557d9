"""A failover by Sentinel: what a replica has confirmed ends once, and workers and producers go on by themselves."""

import base64
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter
from contextlib import contextmanager

import pytest
import redis

from golem_chain.broker.connection import check_broker, connect
from golem_chain.broker.jobs.publisher import Publisher
from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded
from golem_chain.broker.monitoring import doctor
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.submission import confirmed_by_replicas
from golem_chain.broker.transport import message
from golem_chain.shared.errors import BrokerAway, MissingExtra
from golem_chain.shared.settings import Settings
from tests.support.blocking import Blocking
from tests.support.chain import Chain
from tests.support.messages import lane_keys
from tests.support.sentinels import PASSWORD, SENTINEL_PASSWORD, Watched

LEASE_S = 5
keys = Keys()
BOOKS = (keys.unacked, keys.holders, keys.dying, keys.dead, *lane_keys())


@pytest.fixture(scope="module")
def processes(tmp_path_factory, eventually):
    """A primary, a replica and three sentinels, shared by the tests."""
    try:
        program = embedded.binary()
    except MissingExtra as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(exc.message)
    made = Watched(program, tmp_path_factory.mktemp("sentinels"), eventually)
    yield made
    made.stop()


@pytest.fixture
def watched(processes):
    """All of them alive, and ready for a failover."""
    processes.heal()
    return processes


@pytest.fixture
def chain(watched, tmp_path):
    """A worker, and a producer whose submits one replica has to confirm."""
    made = Chain(watched, tmp_path, redis_wait=1, lease_s=LEASE_S, keep_s=600)
    made.start_worker()
    yield made
    made.stop_worker()
    made.pipeline.close()
    made.client.close()


class Producer(threading.Thread):
    """Submits jobs one by one. A submit that fails is repeated with its id until it succeeds."""

    def __init__(self, settings):
        super().__init__(daemon=True)
        self.settings, self.confirmed = settings, list[str]()
        self.said = Counter[str]()
        self.ending = threading.Event()

    def run(self):
        with Pipeline(self.settings) as pipeline:
            while not self.ending.is_set():
                self._submit(pipeline, uuid.uuid4().hex)
                time.sleep(0.01)

    def _submit(self, pipeline, job):
        while True:
            try:
                pipeline.submit(b"turn a on", id=job, labels="a,b")
                self.confirmed.append(job)
                return
            except BrokerAway as exc:
                self.said[exc.message.replace(job, "JOB")] += 1
                time.sleep(0.1)

    def end(self):
        self.ending.set()
        self.join(60)
        assert not self.is_alive(), self.said
        return list(self.confirmed)


def ends_once(chain, eventually, jobs, within_s=90):
    """Check that every job has its Outcome, that nothing is left over, and that the worker never stopped."""
    found = chain.outcomes(jobs, within_s)
    assert {outcome.state for outcome in found.values()} == {"done"}
    left = lambda: [key for key in BOOKS if chain.client.exists(key)]  # noqa: E731
    eventually(lambda: not left(), told=left)
    assert chain.worker.poll() is None, chain.log.read_text()


def with_load(chain, eventually, fail_over):
    """Submit before, during and after a failover; return the confirmed jobs and what the producer was told."""
    producer = Producer(chain.settings)
    producer.start()

    def submitted(more):
        goal = len(producer.confirmed) + more
        eventually(lambda: len(producer.confirmed) >= goal, told=lambda: producer.said)

    submitted(20)
    fail_over()
    submitted(20)
    return producer.end(), producer.said


@pytest.mark.parametrize("how", ["killed", "replaced"])
def test_a_failover_loses_no_job_that_a_replica_has_confirmed(chain, watched, eventually, how):
    before = watched.primary()

    def kill():
        watched.signal(before, signal.SIGKILL)
        eventually(lambda: watched.primary() != before)
        watched.heal()  # the only replica is the primary now: without another one no submit is confirmed

    jobs, said = with_load(chain, eventually, kill if how == "killed" else watched.fail_over)
    ends_once(chain, eventually, jobs)
    assert watched.primary() != before
    for one in said:
        is_one_sentence(one)


def is_one_sentence(told):
    assert told.endswith(".")
    assert ". " not in told
    assert PASSWORD not in told
    assert SENTINEL_PASSWORD not in told


@contextmanager
def paused(watched, port):
    """Stop a server for the length of a block."""
    watched.signal(port, signal.SIGSTOP)
    yield
    watched.signal(port, signal.SIGCONT)


def test_a_submit_that_no_replica_confirms_says_so_and_can_be_repeated(chain, watched, eventually):
    with (
        paused(watched, watched.replica()),
        pytest.raises(BrokerAway, match=r"on 0 of 1 replicas.*the id mine, ") as told,
    ):
        chain.pipeline.submit(b"turn a on", id="mine", labels="a,b")
    is_one_sentence(told.value.message)
    assert chain.pipeline.submit(b"turn a on", id="mine", labels="a,b") == "mine"
    ends_once(chain, eventually, ["mine"])
    assert chain.log.read_text().count("job mine done") == 1


def test_what_another_connection_wrote_has_to_be_confirmed_too(watched):
    settings = Settings.read(_env_file=None, redis_url=watched.url)
    with connect(settings) as waiting, connect(settings) as writing:
        with confirmed_by_replicas(waiting, 1, settings, ["j"]):
            writing.set("a", "b")
        with (
            paused(watched, watched.replica()),
            pytest.raises(BrokerAway, match="on 0 of 1 replicas"),
            confirmed_by_replicas(waiting, 1, settings, ["j"]),
        ):
            writing.set("a", "c")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (("master=golem", "master=other"), "has sentinels that know no primary of this name: set master in "),
        ((SENTINEL_PASSWORD, "wrong-pass"), "has sentinels that reject the password: set sentinel_password in "),
        ((PASSWORD, "wrong-pass"), "rejected the password: "),
    ],
)
def test_what_is_wrong_with_the_url_is_one_sentence(watched, wrong, sentence):
    settings = Settings.read(_env_file=None, redis_url=watched.url.replace(*wrong))
    with pytest.raises(BrokerAway, match=sentence) as told:
        check_broker(settings)
    is_one_sentence(told.value.message)
    assert "wrong-pass" not in told.value.message
    with Blocking(settings) as pipeline, pytest.raises(BrokerAway) as likewise:
        pipeline.outcome("a")
    assert likewise.value.message == told.value.message


def test_a_producer_for_asyncio_reaches_the_primary_through_sentinels(watched):
    with Blocking(Settings.read(_env_file=None, redis_url=watched.url, redis_wait=1)) as pipeline:
        job = pipeline.submit(text="words")  # a replica has confirmed it
        pipeline._outcomes.end(job, "cancelled")
        assert [outcome.state for outcome in pipeline.wait([job], timeout_s=60)] == ["cancelled"]


def test_sentinels_that_are_down_are_passed_over(watched, eventually):
    settings = Settings.read(_env_file=None, redis_url=watched.url)
    for port in watched.sentinels[:2]:
        watched.signal(port, signal.SIGKILL)
    check_broker(settings)
    watched.signal(watched.sentinels[2], signal.SIGKILL)
    with pytest.raises(BrokerAway, match="has no sentinel that answers: check the addresses") as told:
        check_broker(settings)
    is_one_sentence(told.value.message)


def test_the_doctor_examines_the_primary(chain):
    found = doctor.of_redis(chain.settings)
    assert found[0].message.startswith("Valkey answers")
    assert not [one for one in found if one.state == "wrong"]


def test_flower_shows_the_workers_of_the_primary(chain, watched, eventually, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {"GOLEM_REDIS_URL": watched.url, "GOLEM_FLOWER_PORT": str(port), "GOLEM_FLOWER_AUTH": "me:long enough"}
    with (tmp_path / "flower.log").open("w") as log:
        words = [sys.executable, "-m", "golem_chain.broker.cli", "flower"]
        flower = subprocess.Popen(words, env=os.environ | env, cwd=tmp_path, stdout=log, stderr=log)
    shown = []

    def page(path):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
        request.add_header("Authorization", f"Basic {base64.b64encode(b'me:long enough').decode()}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                shown.append(answer.read().decode())
        except OSError:
            return ""
        return shown[-1]

    try:
        eventually(lambda: "test@" in page("/api/workers?refresh=1"), told=(tmp_path / "flower.log").read_text)
        eventually(lambda: "interpreter" in page("/broker"), told=(tmp_path / "flower.log").read_text)
        assert page("/")
    finally:
        flower.terminate()
        flower.wait(60)
    shown.append((tmp_path / "flower.log").read_text())
    assert not [one for one in shown if PASSWORD in one or SENTINEL_PASSWORD in one]


def test_a_submit_across_two_histories_is_not_confirmed_and_is_published_again(start_server, tmp_path):
    with start_server(tmp_path / "server", appendonly=True, fsync="always") as server:
        settings = Settings.read(_env_file=None, redis_url=server.url, redis_wait=1)

        def outlive_a_restart():
            with connect(settings) as client, confirmed_by_replicas(client, 1, settings, ["j"]):
                client.hset("golem:job:j", "queued", "1")
                server.kill()
                server.restart()

        with pytest.raises(BrokerAway, match=r"changed its primary during the submit: submit the job again .* id j,"):
            outlive_a_restart()
        with connect(settings) as client:
            assert not client.hexists("golem:job:j", "queued")


def test_a_job_whose_message_outlived_its_record_can_be_submitted_again(chain, eventually):
    with Pipeline(chain.settings) as pipeline:
        chain.client.lpush(keys.queue("scribe"), message.text("scribe", "it"))
        chain.client.zadd(keys.wake("scribe"), {"work": 0})
        eventually(lambda: not chain.client.exists(keys.queue("scribe")))
        eventually(lambda: not any(chain.client.exists(key) for key in BOOKS))
        pipeline.submit(b"turn a on", id="it", labels="a,b")
    ends_once(chain, eventually, ["it"], within_s=20)


def test_a_submit_whose_answer_is_lost_can_be_repeated_while_the_job_runs(chain, eventually, monkeypatch):
    send = Publisher.submit
    chain.stop_worker()
    monkeypatch.setenv("RUN_S", "0.5")  # the job is under way when the answer is lost
    chain.start_worker()

    def lose_the_answer(self, job, owner=None):
        send(self, job, owner)
        eventually(lambda: chain.client.hexists(keys.job("twice"), "transcript"))
        raise redis.ConnectionError

    with Pipeline(chain.settings) as pipeline:
        with monkeypatch.context() as patch:
            patch.setattr(Publisher, "submit", lose_the_answer)
            with pytest.raises(BrokerAway):
                pipeline.submit(b"turn a on", id="twice", labels="a,b")
        pipeline.submit(b"turn a on", id="twice", labels="a,b")
    ends_once(chain, eventually, ["twice"], within_s=20)


def test_a_stage_that_ended_on_the_old_primary_runs_again_on_the_new_one(chain, watched, eventually, tmp_path):
    go = tmp_path / "go"
    job = chain.pipeline.submit(f"until {go}".encode(), labels="a,b")
    eventually((tmp_path / "go.begun").exists)
    old, new = watched.primary(), watched.replica()
    watched.signal(new, signal.SIGSTOP)
    os.kill(chain.worker.pid, signal.SIGSTOP)
    with watched.client(old) as one:
        one.client_kill_filter(_type="replica")  # what is sent already would reach it
        go.touch()
        eventually(lambda: one.llen(keys.queue("interpreter")))
    time.sleep(0.5)
    watched.signal(old, signal.SIGKILL)
    watched.signal(new, signal.SIGCONT)
    eventually(lambda: watched.primary() == new)
    os.kill(chain.worker.pid, signal.SIGCONT)
    ends_once(chain, eventually, [job], within_s=15)
