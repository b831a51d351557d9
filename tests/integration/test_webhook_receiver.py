"""The sample receiver takes what the deliverer sends, once, and nothing that is forged, old or too long."""

import http.client
import os
import socket
import subprocess
import sys
import time

import pytest
from standardwebhooks import Webhook

from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.webhooks.outbox import Outbox
from golem_chain.broker.webhooks.policy import Policy
from golem_chain.broker.webhooks.signature import headers, secrets_of
from golem_chain.shared.records import Outcome
from tests.support.deliverer import delivering
from tests.support.paths import ROOT
from tests.support.receiver import SECRET

OLD = "whsec_" + "b2xk" * 10


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A running sample: (port, file of its output)."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    out = tmp_path_factory.mktemp("sample") / "out"
    with out.open("w") as log:
        running = subprocess.Popen(
            [sys.executable, ROOT / "samples" / "webhook_receiver.py", str(port)],
            env=os.environ | {"GOLEM_WEBHOOK_SECRET": f"{SECRET} {OLD}"}, stdout=log, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.02)
        yield port, out
    finally:
        running.kill()
        running.wait()


def post(port, body, given):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/", body, given)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_sample_prints_the_end_of_a_job(settings, client, sample, eventually):
    port, out = sample
    Outbox(client, Keys()).open(Policy(http=True, private=True))
    allowed = {"webhook_secret": SECRET, "webhook_http": "1", "webhook_private": "1"}
    with Pipeline(settings) as pipeline, delivering(settings.model_copy(update=allowed)):
        job = pipeline.submit(text="a", name="clip.wav", webhook=f"http://127.0.0.1:{port}/in")
        Outcomes(settings, client).write(Outcome(job=job, name="clip.wav", state="done"))
        eventually(lambda: job in out.read_text())
    assert f"job.done: clip.wav ({job})\n" in out.read_text()


BODY = b'{"type":"job.done","data":{"job":"twice","name":"a.wav"}}'


def signed(secret=SECRET, now_s=None, id="msg_1"):
    return headers(id, int(time.time()) if now_s is None else now_s, BODY, secrets_of(secret))


def test_a_message_that_comes_twice_is_taken_once_and_an_old_secret_still_counts(sample):
    port, out = sample
    assert [post(port, BODY, signed()), post(port, BODY, signed(OLD))] == [204, 204]
    assert out.read_text().count("twice") == 1
    Webhook(SECRET).verify(BODY, signed())


@pytest.mark.parametrize(
    "given",
    [
        {},
        signed("whsec_" + "Zm9yZ2Vk" * 5),
        signed(now_s=int(time.time()) - 3600),
        signed(now_s=int(time.time()) + 3600),
        signed() | {"webhook-id": "msg_2"},
        signed() | {"webhook-timestamp": "now"},
        signed() | {"webhook-signature": "v1,"},
        signed() | {"webhook-signature": "v2,x v1a,y z"},
    ],
)
def test_what_is_forged_or_old_is_refused(sample, given):
    port, out = sample
    before = out.read_text()
    assert post(port, BODY, given) == 401
    assert out.read_text() == before


def test_a_body_that_is_too_long_is_not_read(sample):
    port, _ = sample
    assert post(port, b"", {"Content-Length": str(10**9)}) == 413
