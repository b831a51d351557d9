"""A node of a Redis Cluster is refused in one sentence. A producer is told by the cluster's own answers."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis

from golem_chain.broker.connection import check_broker, reaching
from golem_chain.broker.local import embedded
from golem_chain.broker.monitoring import status
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import BrokerAway, MissingExtra
from golem_chain.shared.settings import Settings
from golem_chain.workers.parent.worker import start

SENTENCE = r"^Redis at redis://\S+ is a Redis Cluster, which is not supported: name a single server, or [^.]+\.$"


def answers(url: str) -> bool:
    with suppress(redis.RedisError), redis.Redis.from_url(url) as client:
        return bool(client.ping())
    return False


@pytest.fixture(scope="module")
def node(tmp_path_factory, eventually) -> Iterator[str]:
    """The URL of a cluster of one node."""
    try:
        program = embedded.binary()
    except MissingExtra as exc:
        pytest.skip(exc.message)
    folder = tmp_path_factory.mktemp("cluster")
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        port, bus = first.getsockname()[1], second.getsockname()[1]
    words = f"--bind 127.0.0.1 --port {port} --cluster-enabled yes --cluster-port {bus} --logfile server.log"
    process = subprocess.Popen([program, *words.split(), "--save", ""], cwd=folder)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        eventually(lambda: answers(url))
        yield url
    finally:
        process.kill()
        process.wait()


def read(url: str) -> Settings:
    return Settings.read(_env_file=None, redis_url=url)


def test_worker_status_and_producer_refuse_a_cluster_in_one_sentence(node: str, eventually) -> None:
    settings = read(node)
    for refused in (check_broker, status.read, start):
        with pytest.raises(BrokerAway, match=SENTENCE):
            refused(settings)
    with Pipeline(settings) as pipeline, redis.Redis.from_url(node) as client:
        with pytest.raises(BrokerAway, match=SENTENCE):
            pipeline.outcome("x")  # no slot is served yet: CLUSTERDOWN
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        eventually(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")))
        with pytest.raises(BrokerAway, match=SENTENCE):
            pipeline.submit(b"x")  # keys of several slots: CROSSSLOT


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.MovedError("3999 10.0.0.2:6379"),
        redis.exceptions.AskError("3999 10.0.0.2:6379"),
        redis.exceptions.TryAgainError("Multiple keys request during rehashing of slot"),
        redis.ResponseError("Script attempted to access a non local key in a cluster node"),
        redis.ResponseError("Script attempted to access keys that do not hash to the same slot"),
        redis.ResponseError("SELECT is not allowed in cluster mode"),
    ],
)
def test_answers_of_clusters_with_several_nodes_are_recognised_too(error: redis.RedisError) -> None:
    with pytest.raises(BrokerAway, match=SENTENCE), reaching(read("redis://10.0.0.1:6379/0")):
        raise error


def test_a_replica_without_its_primary_is_no_cluster() -> None:
    """redis-py derives its error from that of a cluster that is down."""
    with pytest.raises(BrokerAway, match="is a replica"), reaching(read("redis://10.0.0.1:6379/0")):
        raise redis.exceptions.MasterDownError("Link with MASTER is down")
