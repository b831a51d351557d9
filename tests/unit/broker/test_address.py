"""GOLEM_REDIS_URL: the sentinels it names, its TLS options, and what may be shown of it."""

import ssl
from typing import Any

import pytest
import redis
from kombu.utils.json import dumps, loads

from golem_chain.broker import sentinel
from golem_chain.broker.address import masked, primary_of
from golem_chain.broker.app import broker_url, make_app
from golem_chain.broker.connection import SecureSentinelConnection, check_broker, connect, sentinel_pool
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import BadSetting, BrokerAway
from golem_chain.shared.settings import Settings

URL = "sentinel://me:s%40cret@a:26380,b,[::1]:26381/3?master=golem&sentinel_password=s%2Fcret"


def read(url):
    return Settings.read(_env_file=None, redis_url=url)


def test_a_sentinel_url_names_the_sentinels_the_primary_and_both_passwords():
    primary = primary_of(URL)
    assert primary is not None
    assert (primary.name, primary.db, primary.tls) == ("golem", 3, None)
    assert primary.sentinels == (("a", 26380), ("b", 26379), ("::1", 26381))
    assert primary.login == {"username": "me", "password": "s@cret"}
    assert primary.sentinel_login == {"password": "s/cret"}
    assert primary.urls()[1:] == ["sentinel://me:s%40cret@b:26379/3", "sentinel://me:s%40cret@[::1]:26381/3"]
    assert primary_of("redis://a:6379/0") is None


def test_tls_of_a_sentinel_url_reaches_the_sentinels_and_the_primary():
    url = "sentinels://a/0?master=golem&ssl_ca_certs=/ca.pem"
    primary = primary_of(url)
    assert primary is not None
    asked = sentinel.Sentinels(primary).sentinels[0].connection_pool
    served = sentinel_pool(primary)
    assert issubclass(asked.connection_class, redis.SSLConnection)
    assert served.connection_class is SecureSentinelConnection
    for pool in (asked, served):
        assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
        assert pool.connection_kwargs["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert broker_url(read(url)) == ("sentinel://a:26379/0", primary.tls)


def test_no_password_of_a_sentinel_url_is_ever_shown():
    assert masked(URL) == "sentinel://***@a:26380,b:26379,[::1]:26381/3?master=golem"
    app = make_app(read(URL))
    shown = f"{primary_of(URL)!r} {dumps(app.conf.broker_transport_options)} {app.connection_for_write().as_uri()}"
    assert "cret" not in shown
    assert loads(dumps(app.conf.broker_transport_options))["primary"]["name"] == "golem"
    app.close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sentinel://:secret@a:1/0", r"=sentinel://\*\*\*@a:1/0 does not name the primary: add \?master=NAME"),
        (
            "sentinel://:secret@a:1/0?master=x&sentinel_pasword=secret",
            r"unknown option 'sentinel_pasword': use master,",
        ),
        ("sentinel://:secret@a:1/0?master=x&ssl_cert_reqs=none", "unknown option 'ssl_cert_reqs'"),
        ("sentinels://:secret@a/0?master=x&ssl_cert_reqs=maybe", "must be required, optional or none"),
        ("sentinel://:secret@a:1/x?master=x", "not a valid Sentinel URL: use sentinel://"),
        ("sentinel://:secret@a:1,:2/0?master=x", "not a valid Sentinel URL"),
        ("sentinel://:secret@a:1;sentinel://:secret@b:1/0?master=x", "not a valid Sentinel URL"),
        ("rediss+sentinel://:secret@a:1/0?master=x", "not a valid Sentinel URL: .* or sentinels:// for TLS"),
    ],
)
def test_a_bad_sentinel_url_is_refused_in_one_sentence(url, sentence):
    for use in (make_app, Pipeline, check_broker):
        with pytest.raises(BadSetting, match=sentence) as caught:
            use(read(url))
        assert "secret" not in caught.value.message
        assert ". " not in caught.value.message


def test_sentinels_that_do_not_answer_are_one_sentence():
    with pytest.raises(BrokerAway) as told:
        check_broker(read("sentinel://:secret@127.0.0.1:1,127.0.0.1:2/0?master=x&sentinel_password=secret"))
    assert told.value.message == (
        "Redis at sentinel://***@127.0.0.1:1,127.0.0.1:2/0?master=x has no sentinel that answers: "
        "check the addresses in GOLEM_REDIS_URL and that the sentinels are running."
    )


class FakeSentinel:
    """A sentinel that gives one answer."""

    def __init__(self, answer):
        self.answer, self.connection_pool = answer, self

    def disconnect(self):
        pass

    def sentinel_masters(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


UP = {"is_master": True, "is_sdown": False, "is_odown": False, "num-other-sentinels": 2, "ip": "p", "port": 7}
FALLEN = {**UP, "is_odown": True}
SILENT, REFUSED = redis.ConnectionError("secret"), redis.AuthenticationError("secret")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([SILENT, redis.TimeoutError("secret")], sentinel.SILENT),
        ([SILENT, REFUSED], sentinel.REFUSED),
        ([{}, REFUSED, SILENT], sentinel.UNKNOWN),
        ([{"golem": FALLEN}, {}, SILENT], sentinel.DOWN),
    ],
)
def test_the_reason_is_that_of_the_sentinel_which_knows_most(answers, reason):
    primary = primary_of("sentinel://a/0?master=golem")
    assert primary is not None
    asked: Any = sentinel.Sentinels(primary)
    asked.sentinels = [FakeSentinel(answer) for answer in answers]
    with pytest.raises(sentinel.NoPrimary) as told:
        asked.discover_master("golem")
    assert told.value.args == (reason,)
    asked.sentinels.append(FakeSentinel({"golem": UP}))
    assert asked.discover_master("golem") == ("p", 7)
    assert asked.sentinels[0].answer == {"golem": UP}, "the one that knew is asked first from now on"


def test_a_client_of_a_sentinel_url_has_the_timeouts_of_any_other():
    plain, watched = (connect(read(url)).connection_pool for url in ("redis://a/0", "sentinel://a/0?master=x"))
    for key in ("socket_connect_timeout", "socket_timeout", "health_check_interval", "retry_on_error"):
        assert watched.connection_kwargs[key] == plain.connection_kwargs[key]
    assert watched.connection_kwargs["retry"]._retries == plain.connection_kwargs["retry"]._retries
