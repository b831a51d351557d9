"""golem deliver and --webhook: what they print, and that every refusal is one sentence that quotes no secret."""

import json

import pytest

from golem_chain.broker.keys import Keys
from golem_chain.broker.webhooks.outbox import Outbox
from golem_chain.broker.webhooks.policy import Policy
from golem_chain.broker.webhooks.schedule import Room, Verdict
from golem_chain.shared.records import Outcome

keys = Keys()
URL = "https://hooks.example.org/token-1234"

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.fixture
def dead(redis):
    """A message that was given up; returns its id."""
    box = Outbox(redis, keys)
    outcome = Outcome(job="j1", name="a.wav", state="done").model_dump_json()
    redis.xadd(keys.outbox, {"job": "j1", "url": URL, "outcome": outcome})
    [entry] = box.entries()
    box.accept(entry, Policy())
    [message] = box.claim(Room(1, 1, 1, {}), 60.0)
    box.settle(message, Verdict("dead", why="answered \x1b[2J"))
    return message.id


def test_dead_webhooks_are_listed_without_their_paths_and_retried(golem, redis, dead):
    code, out, _ = golem("deliver", "--dead")
    assert code == 0
    for shown in ("j1", "https://hooks.example.org", r"\x1b"):
        assert shown in out
    _, listed, _ = golem("deliver", "--dead", "--json")
    told = json.loads(listed)
    assert (told["id"], told["tries"]) == (dead, 1)
    assert "token-1234" not in out + listed
    code, _, err = golem("deliver", "--retry", dead)
    assert (code, err) == (0, f"golem: The webhook {dead} is tried again.\n")
    assert redis.zscore(keys.webhooks_of("https://hooks.example.org"), dead)
    assert golem("deliver", "--dead")[2] == "golem: There are no dead webhooks.\n"


@pytest.mark.parametrize(
    ("typed", "secret", "says"),
    [
        (["--retry", "msg_\x1b"], None, "There is no dead webhook 'msg_\\x1b'"),
        (["--dead", "--retry", "x"], None, "not both"),
        ([], None, "GOLEM_WEBHOOK_SECRET is not set"),
        ([], "whsec_sesame", "GOLEM_WEBHOOK_SECRET is not whsec_ followed by"),
    ],
)
def test_wrong_usage_is_one_sentence(golem, redis, monkeypatch, typed, secret, says):
    if secret:
        monkeypatch.setenv("GOLEM_WEBHOOK_SECRET", secret)
    code, _, err = golem("deliver", *typed)
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1
    assert "sesame" not in err


def test_without_redis_the_list_is_one_sentence(golem, monkeypatch):
    monkeypatch.setenv("GOLEM_REDIS_URL", "redis://127.0.0.1:1/0")
    code, _, err = golem("deliver", "--dead")
    assert (code, len(err.splitlines())) == (1, 1)
    assert "cannot be reached" in err


def test_submit_hands_the_url_in_where_a_deliverer_has_run(golem, redis):
    code, out, err = golem("submit", "a.wav", "--webhook", URL, "--json")
    assert code != 0
    assert "start golem deliver" in out + err
    Outbox(redis, keys).open(Policy())
    code, out, _ = golem("submit", "a.wav", "--webhook", URL, "--json")
    job = json.loads(out)["job"]
    assert code == 0
    assert json.loads(redis.hget(keys.job(job), "job"))["webhook"] == URL
    code, out, err = golem("submit", "b.wav", "--webhook", "https://me:sesame@hooks.example.org/", "--json")
    assert code != 0
    assert "a user or a password" in out + err
    assert "sesame" not in out + err


def test_transcribe_hands_the_url_in_too(golem, redis, worker):
    Outbox(redis, keys).open(Policy())
    assert golem("transcribe", "a.wav", "--webhook", URL)[0] == 0
    [key] = redis.scan_iter("golem:job:*")
    assert json.loads(redis.hget(key, "job"))["webhook"] == URL
    [(_, entry)] = redis.xrange(keys.outbox)
    assert entry[b"url"].decode() == URL
