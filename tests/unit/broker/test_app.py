"""The Celery app: conversion of URLs, and JSON as the only serialiser."""

import ssl

import pytest
from celery.backends.base import DisabledBackend
from kombu import Connection

from golem_chain.broker.app import broker_url, make_app
from golem_chain.broker.connection import check_broker
from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import BadSetting, BrokerAway
from golem_chain.shared.settings import Settings

keys = Keys()


def read(**given):
    return Settings.read(_env_file=None, **given)


def test_tls_is_spelled_out_and_verified_unless_it_is_said_otherwise():
    url, tls = broker_url(read(redis_url="rediss://:pw@box:6390/2"))
    assert url == "rediss://:pw@box:6390/2"
    assert tls == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    url, tls = broker_url(read(redis_url="rediss://box/0?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem"))
    assert url == "rediss://box/0"
    assert tls == {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False, "ssl_ca_certs": "/ca.pem"}


def test_tls_reaches_the_broker_and_celery_stores_no_results():
    app = make_app(read(redis_url="rediss://box/0"))
    channel = app.connection_for_write()
    assert channel.ssl["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert isinstance(app.backend, DisabledBackend)
    app.close()


def test_a_socket_of_the_file_system_can_stand_for_a_host():
    url, tls = broker_url(read(redis_url="unix://:pw@/run/redis.sock?db=3"))
    assert (url, tls) == ("redis+socket://:pw@/run/redis.sock?virtual_host=3", None)
    assert Connection(url).hostname


@pytest.mark.parametrize("url", ["http://box", "box:6379", "amqp://:secret@box"])
def test_what_is_not_redis_is_refused_without_telling_the_password(url):
    with pytest.raises(BadSetting, match="GOLEM_REDIS_URL") as caught:
        make_app(read(redis_url=url))
    assert "secret" not in caught.value.message


def test_a_cluster_url_is_refused_with_what_to_use_instead():
    with pytest.raises(BadSetting, match="Redis Cluster, which is not supported: name a single server"):
        make_app(read(redis_url="redis+cluster://a:6379"))


def test_messages_in_hand_have_names_that_no_other_app_uses(settings):
    with make_app(settings).connection_for_write() as connection:
        channel = connection.default_channel
        names = (channel.unacked_key, channel.unacked_index_key, channel.unacked_mutex_key)
    assert names[:2] == (keys.unacked, keys.unacked_index)
    assert all(name.startswith("golem:") for name in names)


def test_a_producer_whose_channel_was_closed_publishes_over_a_new_one(settings, client):
    app = make_app(settings)
    with app.producer_pool.acquire(block=True) as producer:
        producer.channel.close()  # as after a publish that failed
        producer.publish({}, routing_key="scribe", exchange="", retry=True, retry_policy={"max_retries": 3})
    assert client.llen(keys.queue("scribe")) == 1
    app.close()


def test_only_json_is_spoken():
    conf = make_app(read()).conf
    assert conf.accept_content == ["json"]
    assert {conf.task_serializer, conf.event_serializer} == {"json"}


def test_the_settings_reach_the_transport():
    conf = make_app(read(batch="scribe=4,oracle=2", lease_s=9, max_deliveries=5)).conf
    options = conf.broker_transport_options
    assert options["batch"] == {"scribe": 4, "interpreter": 8, "oracle": 2}
    assert (options["visibility_timeout"], options["lease_renewal"], options["max_deliveries"]) == (9, 3, 5)
    assert [queue.name for queue in conf.task_queues] == list(STAGES)


def test_a_broker_that_is_away_is_one_sentence():
    with pytest.raises(BrokerAway, match="cannot be reached") as caught:
        check_broker(read(redis_url="redis://:secret@127.0.0.1:1/0"))
    assert "secret" not in caught.value.message
