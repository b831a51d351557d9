"""Jobs that run some of the stages: they begin at what is given and end where they stop, and nothing else is loaded."""

import json
import re
import signal

import pytest

from golem_chain.broker.jobs.dead_letters import Letters
from golem_chain.broker.jobs.records import digest
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import status
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import message
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import Job, JobOptions, OracleParams

keys = Keys()
#: Records as 0.2 wrote them, and the digests that it stored.
OLD = {
    "9afa67fa328ee492f395c8ef7bc938207b98d00f72bc6a1f440fce307b941d0f": {
        "id": "a", "name": "a.wav", "submitted_at": 1.0,
        "audio": {"key": "vault:a", "size_bytes": 5, "sha256": "ab" * 32},
    },
    "a43fd4dcec76b1f931d1f7f089415120d23c8788083429eead1998b9e6cbcf53": {
        "id": "a", "name": "a.wav", "submitted_at": 1.0, "audio": {"key": "vault:a", "size_bytes": 5},
        "labels": {"labels": [{"name": "x"}]}, "vocabulary": {"from_labels": True}, "language": "en",
        "task": "translate", "word_times": True, "oracle": {"seed": 3},
    },
}  # fmt: skip


def loads(chain):
    """Return how often the worker has loaded each stage."""
    boxes = status.read(chain.settings)["boxes"]
    return {stage: count for box in boxes.values() for stage, count in (box.get("loads_of") or {}).items()}


@pytest.mark.parametrize(
    ("given", "stages"),
    [
        ({"audio": b"lights", "stop": "scribe"}, ["scribe"]),
        ({"audio": b"lights", "stop": "interpreter"}, ["scribe", "interpreter"]),
        ({"text": "lights", "stop": "interpreter"}, ["interpreter"]),
        ({"text": "lights"}, ["interpreter", "oracle"]),
        ({"text": "lights", "intent": "lights"}, ["oracle"]),
    ],
)
def test_a_fresh_worker_runs_and_loads_the_wanted_stages_and_no_other(make_chain, eventually, given, stages):
    chain = make_chain()
    labels = "lights,music" if stages != ["scribe"] else None
    outcome = chain.outcomes([job := chain.pipeline.submit(labels=labels, **given)])[job]
    assert (outcome.state, list(outcome.stages), outcome.transcript.text) == ("done", stages, "lights")
    assert (outcome.intent is None) == (stages == ["scribe"])
    assert (outcome.reply is None) == ("oracle" not in stages)
    if outcome.reply:
        assert outcome.reply.text == "lights: lights"
    loaded = eventually(lambda: found if sum((found := loads(chain)).values()) >= len(stages) else None)
    assert sorted(stage for stage, count in loaded.items() if count) == sorted(stages)
    assert not chain.client.exists(*map(keys.queue, STAGES)), "no message went to another stage"
    assert re.findall(r"prefetch (\w+)", chain.log.read_text()) == stages[1:]


def test_an_intent_that_is_given_is_in_the_outcome_as_given(chain):
    outcome = chain.outcomes([job := chain.pipeline.submit(text="hello", intent="b", labels="a,b", language="en")])[job]
    assert (outcome.intent.label, outcome.intent.score, outcome.intent.method) == ("b", 1.0, "given")
    assert (outcome.transcript.text, outcome.transcript.language) == ("hello", "en")
    assert outcome.name == "text"


def test_a_transcript_alone_of_silence_has_no_intent(chain):
    outcome = chain.outcomes([job := chain.pipeline.submit(b"silence", stop="scribe")])[job]
    assert (outcome.state, outcome.transcript.text, outcome.intent) == ("done", "", None)


def test_jobs_that_stop_share_a_batch_with_jobs_that_go_on(chain):
    chain.worker.send_signal(signal.SIGSTOP)
    try:
        jobs = [chain.pipeline.submit(b"a", stop=stop) for stop in ("scribe", None, "interpreter")]
    finally:
        chain.worker.send_signal(signal.SIGCONT)
    outcomes = chain.outcomes(jobs)
    assert [list(outcomes[job].stages) for job in jobs] == [[*STAGES[:1]], [*STAGES], [*STAGES[:2]]]


def test_a_forged_message_makes_no_unwanted_stage_run(chain, eventually):
    asked = chain.pipeline.submit(text="hello", labels="a,b", stop="interpreter", id="forged-for")
    chain.outcomes([asked])
    job = chain.pipeline.submit(f"until {chain.root / 'go'}".encode(), stop="scribe")
    eventually((chain.root / "go.begun").exists)
    chain.client.delete(keys.outcome(asked))  # as if it had not ended
    for stage, forged in (("oracle", job), ("scribe", asked), ("oracle", asked)):
        forge(chain.client, stage, forged)
    (chain.root / "go").touch()
    assert list(chain.outcomes([job])[job].stages) == ["scribe"]
    eventually(lambda: not chain.client.exists(*map(keys.queue, STAGES), keys.unacked))
    for stage in ("scribe", "oracle"):  # as the current message of its job
        forge(chain.client, stage, asked, current=True)
        eventually(lambda: not chain.client.exists(*map(keys.queue, STAGES), keys.unacked))
    assert chain.log.read_text().count("for job forged-for came out of its turn") == 2
    assert not chain.client.exists(keys.outcome(asked))


def forge(client, stage, job, *, current=False):
    """Publish a message past the pipeline; `current`: and make it the one that its job expects."""
    raw = message.text(stage, job)
    if current:
        client.hset(keys.job(job), "tag", json.loads(raw)["properties"]["delivery_tag"])
    client.lpush(keys.queue(stage), raw)
    client.zadd(keys.wake(stage), {"work": 0})


def test_a_text_with_a_damaged_record_ends_as_failed(chain):
    chain.worker.send_signal(signal.SIGSTOP)
    try:
        job = chain.pipeline.submit(text="hello")
        chain.client.hset(keys.job(job), "job", "{")
    finally:
        chain.worker.send_signal(signal.SIGCONT)
    assert chain.outcomes([job])[job].error.message == "The record of this job is malformed: submit the job again."


def test_a_text_reserves_nothing_in_the_vault_and_leaves_nothing_behind(pipeline, client):
    job = pipeline.submit(text="turn on the light")
    assert not client.exists(keys.vault_total, keys.vault_sizes, keys.vault_leaving, keys.vault_ended, keys.audio(job))
    pipeline.cancel(job)
    assert not client.exists(keys.vault_total, keys.vault_sizes, keys.vault_leaving, keys.vault_ended, keys.audio(job))
    assert 0 < client.ttl(keys.job(job)) <= 60


@pytest.mark.parametrize(("given", "queue"), [({}, "interpreter"), ({"intent": "a"}, "oracle")])
def test_a_text_is_published_once_to_the_stage_at_which_it_begins(pipeline, client, given, queue):
    for _ in range(2):
        pipeline.submit(text="hello", id="mine", **given)
    (raw,) = client.lrange(keys.queue(queue), 0, -1)
    assert json.loads(raw)["headers"]["id"] == f"mine.{queue}"
    assert client.exists(*map(keys.queue, STAGES)) == 1
    for other in ({"text": "bye"}, {"text": "hello", "stop": "oracle"}, {"audio": b"hello"}):
        with pytest.raises(BadRequest, match="belongs to another job"):
            pipeline.submit(id="mine", **other)


def test_a_text_that_is_cancelled_keeps_what_it_was_given(pipeline):
    outcome = pipeline.cancel(pipeline.submit(text="hello", intent="greet"))
    assert (outcome.state, outcome.transcript.text, outcome.intent.label) == ("cancelled", "hello", "greet")


def test_a_dead_letter_of_a_text_is_retried_where_it_began(make_chain):
    chain = make_chain(max_deliveries=1)
    chain.worker.send_signal(signal.SIGSTOP)
    job = chain.pipeline.submit(text="a", labels="a,b")
    raw = chain.client.lindex(keys.queue("interpreter"), 0)
    chain.client.hset(keys.deliveries, json.loads(raw)["properties"]["delivery_tag"], 5)  # it killed workers
    chain.worker.send_signal(signal.SIGCONT)
    assert chain.outcomes([job])[job].error.code == "too-many-deliveries"
    letters = Letters(chain.client, keys)
    [letter] = letters.all()
    assert letters.retry(letter) == job
    outcome = chain.outcomes([job])[job]
    assert (outcome.state, list(outcome.stages)) == ("done", ["interpreter", "oracle"])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "either audio or a text"),
        ({"audio": b"x", "text": "x"}, "either audio or a text"),
        ({"audio": b"x", "intent": "x"}, "give the text too"),
        ({"text": ""}, "The text is empty"),
        ({"text": "x" * 30_000}, "30,000 characters"),
        ({"text": "\ud800"}, "not valid Unicode"),
        ({"text": "x", "intent": ""}, "intent="),
        ({"text": "x", "stop": "scribe"}, "cannot stop at the scribe"),
        ({"text": "x", "stop": "nowhere"}, "stop="),
        ({"text": "x", "vocabulary": "yes,no"}, "a vocabulary from audio"),
        ({"text": "x", "word_times": True}, "word times from audio"),
        ({"text": "x", "task": "translate"}, "a translation from audio"),
        ({"text": "x", "initial_prompt": "y"}, "A prompt of the Scribe has no effect on a job that begins with a text"),
        ({"text": "x", "scribe_temperature": 0.0}, "A temperature of the Scribe has no effect"),
        ({"audio": b"x", "initial_prompt": "y", "vocabulary": "a,b"}, "prompt of the Scribe cannot be combined with a"),
        ({"audio": b"x", "scribe_temperature": 0.5, "vocabulary": "a,b"}, "temperature of the Scribe cannot be"),
        ({"text": "x", "hotwords": "y"}, "A list of hotwords has no effect on a job that begins with a text"),
        ({"audio": b"x", "hotwords": ["y"], "vocabulary": "a,b"}, "A list of hotwords cannot be combined with a"),
        ({"audio": b"x", "hotwords": ["y" * 101]}, "Hotword 1 has 101 characters"),
        ({"audio": b"x", "hotwords": [f"y{n}" for n in range(101)]}, "There are 101 hotwords"),
        ({"audio": b"x", "hotwords": []}, "The hotwords are empty"),
        ({"audio": b"x", "initial_prompt": "y" * 1001}, "initial_prompt="),
        ({"audio": b"x", "initial_prompt": "\ud800"}, "initial_prompt="),
        ({"audio": b"x", "scribe_temperature": 1.1}, "scribe_temperature="),
        ({"audio": b"x", "scribe_temperature": float("nan")}, "scribe_temperature="),
        ({"text": "x", "intent": "c", "labels": "a,b"}, "none of the labels: choose one of a, b, unknown"),
        ({"audio": b"x", "stop": "scribe", "labels": "a,b"}, "Labels have no effect"),
        ({"audio": b"x", "stop": "scribe", "oracle": OracleParams(seed=1)}, "have no effect"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_sentence_and_stores_nothing(pipeline, client, given, why):
    with pytest.raises(BadRequest, match=why) as refused:
        pipeline.submit(**given)
    assert len(refused.value.message.splitlines()) == 1
    assert refused.value.message.endswith(".")
    assert client.keys("*") == []


def test_labels_are_used_where_the_vocabulary_is_made_of_them(pipeline):
    assert pipeline.submit(b"x", stop="scribe", labels="a,b", vocabulary="from-labels")


def test_prepared_options_serve_texts_too(pipeline):
    assert pipeline.submit_with(None, JobOptions(stop="interpreter"), text="hello", id="mine") == "mine"


@pytest.mark.parametrize("stored", OLD)
def test_a_record_of_an_older_release_is_read_and_has_its_stored_digest(stored):
    job = Job.model_validate(OLD[stored])
    assert digest(job) == stored
    assert job.wanted == STAGES


@pytest.fixture
def pipeline(settings):
    with Pipeline(settings) as made:
        yield made
