"""One try against receivers that fail, hang, drip, flood, lie and redirect, and against names that lead elsewhere."""

import shutil
import socket
import subprocess
import threading
import time
import tracemalloc

import pytest

from golem_chain.broker.webhooks import resolver
from golem_chain.broker.webhooks.policy import Policy
from golem_chain.broker.webhooks.schedule import Answer
from golem_chain.broker.webhooks.sender import Sender
from golem_chain.shared.errors import BadWebhook
from tests.support.receiver import Receiver

OPEN = Policy(http=True, private=True)
TOTAL_S = 0.6


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.stop()


def post(url, policy=OPEN, look_up=resolver.resolve, total_s=TOTAL_S, body=b"{}"):
    return Sender(policy, look_up, total_s).post(url, {"webhook-id": "msg_1"}, body)


def to(*addresses):
    """A resolver that gives these addresses for every name."""
    return lambda host, port, timeout_s: list(addresses)


def test_the_request_is_a_post_of_json_with_the_name_of_the_host_and_no_more(receiver):
    assert post(receiver.url("/in?token=1", "hooks.example"), look_up=to("127.0.0.1")) == Answer(204)
    [got] = receiver.requests
    assert (got.path, got.body) == ("/in?token=1", b"{}")
    headers = dict(got.headers)
    assert headers.pop("user-agent").startswith("golem-chain/")
    assert headers == {
        "host": f"hooks.example:{receiver.port}", "content-type": "application/json", "accept-encoding": "identity",
        "connection": "close", "content-length": "2", "webhook-id": "msg_1",
    }  # fmt: skip


@pytest.mark.parametrize("status", [200, 204, 299, 400, 410, 500])
def test_the_status_is_the_answer(receiver, status):
    receiver.plan["/"] = [str(status)]
    assert post(receiver.url("/")) == Answer(status)


def test_retry_after_is_read(receiver):
    receiver.plan["/"] = ["503 Retry-After: 7"]
    assert post(receiver.url("/")) == Answer(503, retry_after_s=7.0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("leads", ["itself", "to a private address", "to a file"])
def test_a_redirect_is_not_followed(receiver, status, leads):
    other = Receiver("127.0.0.2")
    place = {"itself": "/", "to a private address": other.url("/", "127.0.0.2"), "to a file": "file:///etc/passwd"}
    receiver.plan["/"] = [f"{status} Location: {place[leads]}"] * 5
    try:
        assert post(receiver.url("/")) == Answer(status)
        assert (len(receiver.requests), other.connections) == (1, 0)
    finally:
        other.stop()


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("hang", "did not answer within 0.6 s"),
        ("drip", "did not answer within 0.6 s"),
        ("close", "closed the connection without an answer"),
        ("half", "gave no valid HTTP answer"),
        ("garbage", "gave no valid HTTP answer"),
        ("headers", "gave no valid HTTP answer"),
        ("continue", "gave no valid HTTP answer"),
    ],
)
def test_a_receiver_that_misbehaves_costs_one_time_limit_and_little_memory(receiver, behaviour, says):
    receiver.plan["/"] = [behaviour]
    tracemalloc.start()
    began = time.monotonic()
    answer = post(receiver.url("/"))
    took_s, (_, peak_bytes) = time.monotonic() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status is None
    assert says in answer.error
    assert took_s < TOTAL_S + 2
    assert peak_bytes < 10_000_000


@pytest.mark.parametrize("behaviour", ["lie", "flood"])
def test_a_body_that_never_ends_is_not_waited_for_or_kept(receiver, behaviour):
    receiver.plan["/"] = [behaviour]
    tracemalloc.start()
    began = time.monotonic()
    assert post(receiver.url("/"), total_s=15) == Answer(200)
    took_s, (_, peak_bytes) = time.monotonic() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took_s < 5
    assert peak_bytes < 10_000_000


def test_a_receiver_that_does_not_read_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0), backlog=1) as deaf:
        began = time.monotonic()
        answer = post(f"http://127.0.0.1:{deaf.getsockname()[1]}/", body=b"x" * 50_000_000)
        assert answer == Answer(error="did not answer within 0.6 s")
        assert time.monotonic() - began < TOTAL_S + 2


def test_nobody_there_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/") == Answer(error="could not be connected to (Connection refused)")


# -- where names lead


def test_a_name_that_resolves_to_loopback_is_not_connected_to(receiver):
    answer = post(receiver.url("/", "rebound.example"), Policy(http=True), to("127.0.0.1"))
    assert answer.status is None
    assert "127.0.0.1 is a loopback one: set GOLEM_WEBHOOK_PRIVATE=1" in answer.error
    assert receiver.connections == 0


def test_the_real_resolver_finds_localhost_and_the_policy_refuses_it(receiver):
    assert "loopback" in post(receiver.url("/", "localhost"), Policy(http=True)).error
    assert receiver.connections == 0


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(receiver):
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    answer = post(receiver.url("/", "rebinding.example"), OPEN, lambda *_: answers.pop(0))
    assert answer == Answer(204)
    assert answers == [["169.254.169.254"]], "resolved once"


def test_of_several_addresses_only_allowed_ones_are_tried_in_turn(receiver):
    other = Receiver("127.0.0.3")  # nothing listens on its address at the receiver's port
    try:
        found = to("169.254.169.254", "127.0.0.3", "127.0.0.1")
        assert post(receiver.url("/", "several.example"), look_up=found) == Answer(204)
    finally:
        other.stop()


def test_a_resolver_that_hangs_is_given_up_in_time(monkeypatch):
    held = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: held.wait(30) and [])
    began = time.monotonic()
    assert post("http://slow.example/").error.startswith("was not resolved within")
    held.set()
    assert time.monotonic() - began < TOTAL_S + 2


def test_a_name_that_does_not_exist_is_one_sentence():
    assert post("http://nonesuch.invalid/", total_s=15).error.startswith("was not resolved")


def test_a_url_that_the_policy_forbids_is_not_even_resolved():
    with pytest.raises(BadWebhook, match="GOLEM_WEBHOOK_HOSTS"):
        post("https://a.example/", Policy(hosts=("b.example",)), to())


def test_proxies_of_the_environment_are_not_used(receiver, monkeypatch):
    proxy = Receiver("127.0.0.4")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.4:{proxy.port}")
    try:
        assert post(receiver.url("/")) == Answer(204)
        assert proxy.connections == 0
    finally:
        proxy.stop()


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file with certificate and key for hooks.example."""
    if not shutil.which("openssl"):
        pytest.skip("a certificate needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    name = ["-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*made, "-days", "2", "-keyout", "key.pem", "-out", "ca.pem", *name],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text((folder / "ca.pem").read_text() + (folder / "key.pem").read_text())
    return both


def test_tls_is_checked_against_the_name_though_an_address_is_connected_to(certificate, monkeypatch):
    receiver = Receiver(tls=certificate)
    try:
        url, found = receiver.url("/", "hooks.example", "https"), to("127.0.0.1")
        assert "untrusted certificate" in post(url, look_up=found, total_s=15).error
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("ca.pem")))
        assert post(url, look_up=found, total_s=15) == Answer(204)
        other = receiver.url("/", "other.example", "https")
        assert "untrusted certificate" in post(other, look_up=found, total_s=15).error
        assert len(receiver.requests) == 1
    finally:
        receiver.stop()


def test_a_receiver_without_tls_is_told_so_and_gets_nothing(receiver):
    answer = post(receiver.url("/", scheme="https"))
    assert answer.status is None
    assert receiver.requests == []
