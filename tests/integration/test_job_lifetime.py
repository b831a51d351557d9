"""A job's Redis keys expire in every order of events: ended early, published twice, updated late."""

import json
import time
import types
from typing import Any

import pytest
import redis

from golem_chain.broker.app import make_app
from golem_chain.broker.jobs.dead_letters import Letters
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.jobs.publisher import Publisher
from golem_chain.broker.jobs.records import Jobs
from golem_chain.broker.jobs.vault import Vault
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import AudioRef, Failure, Job
from golem_chain.workers.parent.bootsteps import DeadLetterStep

keys = Keys()

MANY = ",".join(f'label_{n}="the speaker wants thing number {n}"' for n in range(200))


@pytest.fixture
def pipeline(settings):
    with Pipeline(settings) as made:
        yield made


def unexpiring(client):
    """Return keys of jobs without an expiry."""
    return [
        key.decode()
        for kind in ("job:*", "vault:*", "labels*", "vocabulary*", "outcome:*")
        for key in client.scan_iter(f"golem:{kind}")
        if client.ttl(key) == -1
    ]


def test_a_job_is_published_and_kept_in_one_step(pipeline, client, monkeypatch):
    """A worker cannot be faster than a producer that has only half submitted a job."""
    sent: list[str] = []
    monkeypatch.setattr(client.__class__, "execute_command", watching(client.__class__.execute_command, sent))
    job = pipeline.submit(b"sound", labels=MANY)
    assert sent[-1] == "EVALSHA"
    assert client.llen(keys.queue("scribe")) == 1
    assert {client.ttl(key) for key in (keys.job(job), keys.audio(job))} == {-1}


def watching(call, sent):
    def execute(self, *args, **options):
        sent.append(args[0])
        return call(self, *args, **options)

    return execute


def test_a_job_that_ended_and_whose_outcome_is_gone_does_not_come_back(pipeline, settings, client):
    job = pipeline.submit(b"sound", labels=MANY)
    assert Outcomes(settings.model_copy(update={"keep_s": 0.01}), client).end(job, "done")
    end = time.monotonic() + 30
    while client.exists(keys.job(job)):
        assert time.monotonic() < end
    assert not Outcomes(settings, client).end(job, "failed")
    assert unexpiring(client) == []


def test_what_is_told_of_a_job_after_it_is_forgotten_does_not_bring_it_back(client):
    jobs = Jobs(client, keys)
    jobs.tell_heard("forgotten", 1.0, 2.0)
    jobs.keep_heard("forgotten", "{}")
    assert jobs.kept_heard("forgotten") is None
    assert not client.exists("golem:job:forgotten")


def test_the_audio_of_a_job_that_is_sent_again_is_there_at_every_moment(pipeline, settings, client, monkeypatch):
    with monkeypatch.context() as patch:  # its producer dies before it publishes
        patch.setattr(Publisher, "submit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pipeline.submit(b"sound" * 1000, id="mine")
    vault, put, heard = Vault(settings, client), client.__class__.set, []

    def watched(self, name, *args, **options):
        heard.append(vault.read(AudioRef(key="vault:mine", size_bytes=5000)))  # what a worker would read at this time
        return put(self, name, *args, **options)

    monkeypatch.setattr(client.__class__, "set", watched)
    assert pipeline.submit(b"sound" * 1000, id="mine") == "mine"
    assert heard == [b"sound" * 1000]
    assert vault.size_bytes == 5000


def test_a_second_producer_of_the_same_job_leaves_its_audio_as_it_is_needed(pipeline, settings, client, monkeypatch):
    submit = Publisher.submit

    def overtaken(jobs, job, owner=None):
        with monkeypatch.context() as patch, Pipeline(settings) as first:
            patch.setattr(Publisher, "submit", submit)
            assert first.submit(b"sound", id="mine") == "mine"
        vault = Vault(settings, client)
        vault.put("mine", b"sound", job.audio)  # the second one was between two of its steps
        return submit(jobs, job, owner)

    monkeypatch.setattr(Publisher, "submit", overtaken)
    assert pipeline.submit(b"sound", id="mine") == "mine"
    assert client.ttl(keys.audio("mine")) == client.ttl(keys.job("mine")) == -1
    assert client.zscore(keys.vault_leaving, keys.vault_name(keys.audio("mine"))) is None
    assert client.llen(keys.queue("scribe")) == 1


def test_a_second_producer_that_fails_takes_nothing_from_the_first(pipeline, settings, client, monkeypatch):
    def fails(vault, *_):
        with monkeypatch.context() as patch, Pipeline(settings) as first:
            patch.setattr(Vault, "put", put)
            first.submit(b"sound", id="mine")
        raise KeyboardInterrupt

    put = Vault.put
    with monkeypatch.context() as patch:
        patch.setattr(Vault, "put", fails)
        with pytest.raises(KeyboardInterrupt):
            pipeline.submit(b"sound", id="mine")
    assert client.get(keys.audio("mine")) == b"sound"
    assert pipeline.outcome("mine") is None


def test_a_job_whose_record_is_damaged_can_be_cancelled_and_expires(pipeline, client):
    job = pipeline.submit(b"sound", id="mine")
    client.hset(keys.job(job), "transcript", "no JSON")
    assert pipeline.cancel(job).state == "cancelled"
    assert unexpiring(client) == []


def test_the_letter_of_a_job_whose_audio_made_room_is_not_retried(pipeline, settings, client):
    pipeline.submit(b"x", id="mine")
    raw = client.rpop(keys.queue("scribe")).decode()
    client.lpush(keys.dead, json.dumps({"raw": raw, "why": "x", "queue": "scribe", "at": 1.0, "box": "b"}))
    Outcomes(settings, client).end("mine", "failed")
    client.delete(keys.audio("mine"))
    letters = Letters(client, keys)
    with pytest.raises(BadRequest, match="audio of job mine was dropped"):
        letters.retry(letters.all()[0])
    assert pipeline.outcome("mine").state == "failed"


def test_a_record_that_names_a_foreign_key_ends_as_any_other(settings, client):
    jobs = Jobs(client, keys)
    jobs.register(Job(id="forged", name="n", audio=AudioRef(key="vault:forged", size_bytes=1), labels_key="x"))
    assert Outcomes(settings, client).end("forged", "failed", Failure(code="a", message="b"))


def test_a_letter_whose_job_cannot_be_ended_yet_is_kept_until_it_can(pipeline, settings, client, monkeypatch):
    pipeline.submit(b"x", id="mine")
    raw = client.rpop(keys.queue("scribe")).decode()
    told = {"raw": raw, "why": "too-many-deliveries", "queue": "scribe", "box": "b", "deliveries": 3, "error": "e"}
    letter = json.dumps(told | {"at": time.time()})
    damaged = json.dumps(told | {"raw": raw.replace("mine.", "damaged."), "at": time.time()})
    client.set(keys.job("damaged"), "no hash")
    client.lpush(keys.dead, letter)
    client.lpush(keys.dying, letter, damaged)
    app = make_app(settings)
    with app.connection_for_write() as connection:
        context = types.SimpleNamespace(keys=keys, outcomes=Outcomes(settings, client))
        consumer: Any = types.SimpleNamespace(
            connection_errors=connection.connection_errors,
            context=context,
            task_consumer=types.SimpleNamespace(channel=connection.default_channel),
        )
        step = DeadLetterStep.__new__(DeadLetterStep)
        with monkeypatch.context() as patch:
            patch.setattr(Outcomes, "end", lambda *_: (_ for _ in ()).throw(redis.ConnectionError("away")))
            step.tick(consumer)
        assert client.llen(keys.dying) == 2
        assert pipeline.outcome("mine") is None
        step.tick(consumer)
    app.close()
    assert client.llen(keys.dying) == 0, "one that can never end does not hold up the others"
    assert pipeline.outcome("mine").state == "failed"
