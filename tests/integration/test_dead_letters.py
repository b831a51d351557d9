"""Dead letter commands: untrusted content is displayed safely, and a retried job ends exactly once."""

import io
import json
import sys

import pytest

from golem_chain.broker.cli import main
from golem_chain.broker.jobs.dead_letters import Letters
from golem_chain.broker.keys import Keys, hashed
from golem_chain.broker.transport import scripts
from golem_chain.shared.errors import BadRequest

keys = Keys()


@pytest.fixture
def letters(chain):
    chain.client.delete("golem:dead")
    return Letters(chain.client, keys)


@pytest.fixture
def golem(chain, monkeypatch, capsys):
    """Runs a command and returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("GOLEM_REDIS_URL", chain.settings.redis_url)

    def typed(*args, stdin=""):
        monkeypatch.setattr(sys, "argv", ["golem", *args])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as left:
            main.main()
        shown = capsys.readouterr()
        return left.value.code or 0, shown.out, shown.err

    return typed


def test_a_dead_job_that_is_retried_ends_exactly_once_more(chain, letters, golem):
    listener = chain.client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("golem:ended")
    mended = chain.root / "mended"
    job = chain.pipeline.submit(f"die without {mended}".encode(), labels="a,b", name="clip.wav")
    first = chain.outcomes([job])[job]
    assert (first.state, first.error.code) == ("failed", "too-many-deliveries")
    [letter] = letters.all()
    assert (letter.job, letter.summary()["deliveries"]) == (job, 3)
    assert "clip.wav" not in json.dumps(letter.summary()), "the words of users are not for lists"
    mended.touch()
    code, out, _ = golem("dead", "retry", job, "--json")
    assert (code, json.loads(out)) == (0, {"letter": letter.id, "job": job, "retried": True})
    assert chain.outcomes([job])[job].state == "done"
    assert letters.all() == []
    last = chain.outcomes([chain.pipeline.submit(b"silence")])
    ended: list[str] = []
    while not {hashed(one) for one in last} & set(ended):
        if message := listener.get_message(timeout=1):
            ended.append(message["data"].decode())
    listener.close()
    assert ended.count(hashed(job)) == 2, "once for each life"
    assert 0 < chain.client.ttl(keys.audio(job)) <= 120


def test_a_job_that_did_not_fail_is_not_run_again(chain, letters):
    job = chain.pipeline.submit(b"die", labels="a,b")
    chain.outcomes([job])
    [letter] = letters.all()
    outcome = json.loads(chain.client.get(f"golem:outcome:{job}"))
    for state, says in (("done", "ended as done"), ("cancelled", "ended as cancelled")):
        chain.client.set(f"golem:outcome:{job}", json.dumps(outcome | {"state": state}))
        with pytest.raises(BadRequest, match=says):
            letters.retry(letter)
    chain.client.delete(f"golem:outcome:{job}")
    with pytest.raises(BadRequest, match="has no Outcome yet"):
        letters.retry(letter)
    chain.client.delete(f"golem:job:{job}")
    with pytest.raises(BadRequest, match="has expired"):
        letters.retry(letter)
    assert letters.all() == [letter], "a refusal changes nothing"


def test_what_a_stranger_wrote_is_shown_without_acting_and_can_only_be_dropped(chain, letters, golem, eventually):
    evil = b"\x1b[2J\xff\xfe \xe2\x80\xae evil\n" + b"x" * 5000
    chain.client.lpush(keys.queue("scribe"), evil)
    chain.client.zadd("golem:wake:scribe", {"work": 0})
    eventually(letters.all)
    chain.client.lpush("golem:dead", b"not even a letter \x1b", b"[" * 5000)
    found = letters.all()
    assert [one.job for one in found] == [None] * 3
    _, listed, _ = golem("dead", "list")
    for one in found:
        for command in (("list", "--json"), ("show", one.id), ("show", one.id, "--json")):
            code, out, _ = golem("dead", *command)
            assert code == 0
            assert not set(out + listed) & {"\x1b", "\u202e", "\xff"}, command
        assert one.id in listed
        assert len(one.shown()["raw"]) <= 12_000
    code, _, err = golem("dead", "retry", found[0].id)
    assert code == 1
    assert "can only be shown or dropped" in err
    assert golem("dead", "retry", "--all")[0] == 0, "it retries what is a job"
    code, out, _ = golem("dead", "drop", found[0].id, "--json")
    assert (code, json.loads(out)["dropped"]) == (0, True)
    assert golem("dead", "drop", "--all")[2] == "golem: 2 letters deleted.\n"
    assert golem("dead", "list")[2] == "golem: There are no dead letters.\n"


@pytest.mark.parametrize(
    ("typed", "says"),
    [(["retry"], "Give letters or jobs"), (["drop", "x", "--all"], "Give letters"), (["show", "ab\x1b"], r"\x1b")],
)
def test_wrong_usage_is_one_sentence(golem, letters, typed, says):
    code, _, err = golem("dead", *typed)
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1


def test_cancel_says_what_it_ended_and_what_had_ended(chain, golem):
    done = chain.pipeline.submit(b"silence")
    chain.outcomes([done])
    job = chain.pipeline.submit(b"sleep 30")
    code, _, err = golem("cancel", job)
    assert (code, err) == (0, f"golem: Job {job} is cancelled.\n")
    code, out, _ = golem("cancel", "-", "--json", stdin=f"{job}\n{done}")
    assert code == 1
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["cancelled", "done"]
    assert golem("cancel", "nonesuch")[0] == 2


def test_the_status_names_what_is_in_hand_and_how_old_its_lease_is(chain, golem, eventually):
    job = chain.pipeline.submit(b"sleep 110")
    leases = lambda: json.loads(golem("status", "--json")[1])["leases"]  # noqa: E731
    [lease] = eventually(lambda: [one for one in leases() if one["task"] == f"{job}.scribe"])
    assert lease["deliveries"] == 1
    assert lease["box"].startswith("test@")
    assert 0 <= lease["renewed_s"] < 25
    assert "lease renewed" in golem("status")[1]
    chain.pipeline.cancel(job)
    eventually(lambda: not leases(), told=leases)


def test_the_list_is_bounded_what_falls_out_is_logged_and_its_jobs_outcome_stands(chain, letters, eventually):
    job = chain.pipeline.submit(b"die", labels="a,b")
    ended = chain.outcomes([job])[job]
    [oldest] = letters.all()
    chain.client.lpush(keys.dead, *(f'{{"raw": "{n}", "why": "malformed"}}' for n in range(scripts.DEAD_MOST - 1)))
    chain.client.lpush(keys.queue("scribe"), "not ours")
    chain.client.zadd(keys.wake("scribe"), {"work": 0})
    eventually(lambda: oldest.id in chain.log.read_text(), told=lambda: chain.log.read_text()[-2000:])
    left = letters.all()
    assert len(left) == scripts.DEAD_MOST
    assert (left[0].raw, left[-1].raw) == ("not ours", "0")
    assert chain.pipeline.outcome(job) == ended
