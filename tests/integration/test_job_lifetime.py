"""A job's Redis keys expire in every order of events: ended before confirmed, published twice, updated late."""

import json
import time
import types
from typing import Any

import pytest

from golem_chain.broker.app import make_app
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.jobs.records import Jobs
from golem_chain.broker.jobs.vault import Vault
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.submission import Submitter
from golem_chain.shared.records import AudioRef, Failure, Job
from golem_chain.workers.child import tasks
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


def test_a_job_that_ends_before_its_producer_goes_on_leaves_nothing_for_ever(pipeline, settings, client, monkeypatch):
    outcomes, confirm = Outcomes(settings, client), Jobs.confirm_sent

    def late(jobs, job):
        assert outcomes.end(job.id, "done")  # the worker was faster than the producer's next round trip
        confirm(jobs, job)

    monkeypatch.setattr(Jobs, "confirm_sent", late)
    job = pipeline.submit(b"sound", labels=MANY)
    assert pipeline.outcome(job).state == "done"
    assert unexpiring(client) == []


def test_a_job_whose_outcome_is_gone_already_does_not_come_back(pipeline, settings, client, monkeypatch):
    outcomes, confirm = Outcomes(settings.model_copy(update={"keep_s": 0.01}), client), Jobs.confirm_sent

    def later(jobs, job):
        assert outcomes.end(job.id, "done")
        end = time.monotonic() + 30
        while client.exists(f"golem:job:{job.id}"):
            assert time.monotonic() < end
        confirm(jobs, job)

    monkeypatch.setattr(Jobs, "confirm_sent", later)
    job = pipeline.submit(b"sound")
    assert not client.exists(f"golem:job:{job}")
    assert unexpiring(client) == []


def test_what_is_told_of_a_job_after_it_is_forgotten_does_not_bring_it_back(client):
    Jobs(client, keys).tell_heard("forgotten", 1.0, 2.0)
    assert not client.exists("golem:job:forgotten")


def test_the_audio_of_a_job_that_is_sent_again_is_there_at_every_moment(pipeline, settings, client, monkeypatch):
    with monkeypatch.context() as patch:  # its producer dies between publishing and confirming
        patch.setattr(Jobs, "confirm_sent", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(Submitter, "_undo", lambda *_: None)
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


def test_a_record_that_names_a_foreign_key_ends_as_any_other(settings, client):
    jobs = Jobs(client, keys)
    jobs.register(Job(id="forged", name="n", audio=AudioRef(key="vault:forged", size_bytes=1), labels_key="x"))
    assert Outcomes(settings, client).end("forged", "failed", Failure(code="a", message="b"))


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # by Celery
def test_a_letter_whose_job_cannot_be_ended_yet_is_kept_until_it_can(pipeline, settings, client, monkeypatch):
    pipeline.submit(b"x", id="mine")
    raw = client.rpop(keys.queue("scribe")).decode()
    told = {"raw": raw, "why": "too-many-deliveries", "queue": "scribe", "box": "b", "deliveries": 3, "error": "e"}
    letter = json.dumps(told | {"at": time.time()})
    client.lpush("golem:dead", letter)
    client.lpush("golem:dying", letter)
    app = make_app(settings)
    no_stage_runs: Any = None
    tasks.register(app, settings, lambda tell: no_stage_runs)
    app.finalize()
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        consumer: Any = types.SimpleNamespace(
            app=app,
            connection_errors=connection.connection_errors,
            task_consumer=types.SimpleNamespace(channel=channel),
        )
        step = DeadLetterStep.__new__(DeadLetterStep)
        with monkeypatch.context() as patch:
            patch.setattr(Outcomes, "end", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
            step.tick(consumer)
        assert client.llen("golem:dying") == 1
        assert pipeline.outcome("mine") is None
        step.tick(consumer)
    app.close()
    assert client.llen("golem:dying") == 0
    assert pipeline.outcome("mine").state == "failed"
