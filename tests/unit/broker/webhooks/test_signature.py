"""What we sign, the reference implementation of Standard Webhooks verifies; a bad secret is never quoted."""

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from golem_chain.broker.webhooks.signature import headers, secrets_of
from golem_chain.shared.errors import BadSetting

OLD, NEW = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
BODY = '{"type":"job.done","data":{"name":"grüße"}}'.encode()


def test_each_of_several_secrets_verifies_and_no_other_does():
    sent = headers("msg_1", int(time.time()), BODY, secrets_of(f"{NEW} {OLD}"))
    for secret in (NEW, OLD):
        assert Webhook(secret).verify(BODY, sent)["type"] == "job.done"
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(f"whsec_{base64.b64encode(b'3' * 32).decode()}").verify(BODY, sent)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "body"])
def test_whoever_changes_id_time_or_body_breaks_the_signature(changed):
    now_s = int(time.time())
    sent = headers("msg_1", now_s, BODY, secrets_of(NEW))
    body = BODY
    if changed == "body":
        body = BODY.replace(b"done", b"gone")
    else:
        sent[changed] = {"webhook-id": "msg_2", "webhook-timestamp": str(now_s - 1)}[changed]
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(body, sent)


@pytest.mark.parametrize("given", [None, "", "  "])
def test_without_a_secret_one_sentence_says_how_to_make_one(given):
    with pytest.raises(BadSetting, match="GOLEM_WEBHOOK_SECRET is not set"):
        secrets_of(given)


@pytest.mark.parametrize(
    "given",
    [
        base64.b64encode(b"1" * 32).decode(),
        "whsec_",
        f"whsec_{base64.b64encode(b'1' * 23).decode()}",
        f"whsec_{base64.b64encode(b'1' * 65).decode()}",
        "whsec_bm90IGJhc2U2NCBhdCBhbGwgYnV0IGxvbmc!",
        f"{NEW} whsec_short",
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_quoted(given):
    with pytest.raises(BadSetting, match="GOLEM_WEBHOOK_SECRET is not whsec_") as refused:
        secrets_of(given)
    assert not [part for part in given.split() if part != "whsec_" and part in refused.value.message]
