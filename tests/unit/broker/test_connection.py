"""On the transport's connections, a server that accepts no writes counts as down; other errors do not."""

import pytest
import redis

from golem_chain.broker.connection import Connection


@pytest.fixture
def transport(redis_server):
    """A client that uses the transport's connections, and a plain one to set up the server."""
    pool = redis.ConnectionPool.from_url(redis_server.url, connection_class=Connection)
    with redis.Redis.from_pool(pool) as client, redis.Redis.from_url(redis_server.url) as plain:
        plain.flushall()
        yield client, plain


def test_a_full_memory_is_an_absence(transport):
    client, plain = transport
    plain.config_set("maxmemory", "100kb")
    try:
        with pytest.raises(redis.ConnectionError, match="accepts no writes"):
            client.set("a", "b")
        with pytest.raises(redis.ConnectionError, match="accepts no writes"):
            client.eval("return redis.call('SET', KEYS[1], 'b')", 1, "a")
    finally:
        plain.config_set("maxmemory", "0")
    assert client.set("a", "b"), "the connection can be used again"


def test_a_replica_is_an_absence(transport):
    client, plain = transport
    plain.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(redis.ConnectionError, match="accepts no writes"):
            client.set("a", "b")
        with pytest.raises(redis.ConnectionError, match="accepts no writes"), client.pipeline() as pipe:
            pipe.lpush("a", "b").zadd("c", {"d": 1}).execute()
    finally:
        plain.execute_command("REPLICAOF", "NO", "ONE")
    assert client.set("a", "b"), "the connection can be used again"


def test_a_command_that_is_wrong_is_no_absence(transport):
    client, _ = transport
    client.set("text", "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.lpush("text", "y")
