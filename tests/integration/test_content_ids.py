"""Ids from content: the same audio and request run once, under a secret that only this system has."""

import hashlib
import json
import threading
from pathlib import Path

import pytest

from golem_chain.broker import content_id
from golem_chain.broker.connection import reaching
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.jobs.vault import Vault
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import AudioAboveLimit, AudioMissing, BadRequest, BrokerAway
from golem_chain.shared.records import AudioRef
from tests.support.blocking import Blocking

keys = Keys()
MANY = ",".join(f'label_{n}="the speaker wants thing number {n}"' for n in range(200))


@pytest.fixture(params=[Pipeline, Blocking], ids=["sync", "asyncio"])
def kind(request):
    return request.param


@pytest.fixture
def pipeline(kind, settings):
    """A pipeline of either kind: what one promises, the other does."""
    with kind(settings) as made:
        yield made


@pytest.fixture
def rooted(kind, settings, tmp_path):
    """A producer whose files travel by reference."""
    with kind(settings.model_copy(update={"audio_root": (tmp_path,)})) as made:
        yield made


def waiting(client):
    return client.llen(keys.queue("scribe"))


def test_the_same_content_is_one_job_whatever_its_name(pipeline, client):
    first = pipeline.submit(b"sound", id_from="content", name="a.wav", labels=MANY)
    again = pipeline.submit(b"sound", id_from="content", name="b.wav", labels=MANY, lane="bulk", group="g")
    assert first == again
    assert waiting(client) == 1
    assert json.loads(client.hget(keys.job(first), "job"))["name"] == "a.wav"


@pytest.mark.parametrize(
    "other", [{"audio": b"sounds"}, {"labels": "a,b"}, {"language": "de"}, {"stop": "scribe"}, {"word_times": True}]
)
def test_another_content_or_request_is_another_job(pipeline, client, other):
    asked = {"audio": b"sound", "id_from": "content"}
    made = {pipeline.submit(**asked), pipeline.submit(**asked | other)}
    assert len(made) == waiting(client) == 2


def test_texts_have_ids_from_content_too(pipeline, client):
    assert len({pipeline.submit(text=text, id_from="content") for text in ("hello", "hello", "bye")}) == 2


def test_among_many_the_same_content_is_one_job(pipeline, client):
    told = pipeline.submit_many([b"sound", b"other", b"sound"], texts=["hello", "hello"], id_from="content")
    first, other, again, text, text_again = (one.id for one in told)
    assert (first, text) == (again, text_again)
    assert len({first, other, text}) == 3
    assert client.llen(keys.queue("scribe")) == 2
    assert first == pipeline.submit(b"sound", id_from="content")
    assert not [one.error for one in told if one.error]


def test_an_id_that_is_given_is_not_derived(pipeline):
    with pytest.raises(BadRequest, match="choose one of the two"):
        pipeline.submit_many([b"sound"], ids=["mine"], id_from="content")


def test_a_copy_a_reference_and_the_bytes_are_the_same_job(pipeline, rooted, client, tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"sound")
    jobs = {rooted.submit(tmp_path / name, id_from="content") for name in ("a.wav", "b.wav")}
    jobs.add(pipeline.submit(b"sound", id_from="content"))
    assert len(jobs) == waiting(client) == 1
    [job] = jobs
    ref = json.loads(client.hget(keys.job(job), "job"))["audio"]
    assert (ref["key"], ref["sha256"]) == (f"file:{tmp_path / 'a.wav'}", hashlib.sha256(b"sound").hexdigest())
    assert not client.exists(keys.audio(job))


def test_what_has_ended_is_not_run_again_and_its_audio_is_not_stored(pipeline, settings, client):
    job = pipeline.submit(b"sound", id_from="content")
    client.delete(keys.queue("scribe"))
    Outcomes(settings, client).end(job, "done")
    client.delete(keys.audio(job))
    assert pipeline.submit(b"sound", id_from="content") == job
    assert not waiting(client)
    assert not client.exists(keys.audio(job))


def test_two_systems_give_the_same_content_different_ids(pipeline, settings, client):
    with Pipeline(settings.model_copy(update={"prefix": "other"})) as other:
        ids = {one.submit(b"sound", id_from="content") for one in (pipeline, other)}
    assert len(ids) == 2
    assert len({client.get(Keys(prefix).salt) for prefix in ("golem", "other")}) == 2
    assert len(client.get(keys.salt)) == content_id.SALT_BYTES


def test_producers_that_begin_at_the_same_moment_agree_on_the_secret(settings, client):
    start, ids = threading.Barrier(8), []

    def submit():
        with Pipeline(settings) as own:
            start.wait()
            ids.append(own.submit(b"sound", id_from="content"))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), len(set(ids)), waiting(client)) == (8, 1, 1)


def test_a_file_that_changed_after_the_submit_is_not_heard_under_the_id_of_what_it_was(rooted, client, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    job = rooted.submit(path, id_from="content")
    ref = AudioRef.model_validate(json.loads(client.hget(keys.job(job), "job"))["audio"])
    vault = Vault(rooted.settings, client)
    assert vault.read(ref) == b"sound"
    path.write_bytes(b"other")
    with pytest.raises(AudioMissing, match=r"a\.wav has changed since it was submitted: submit it again\."):
        vault.read(ref)
    assert rooted.submit(path, id_from="content") != job


def test_what_cannot_be_hashed_is_refused_as_ever(rooted, client, tmp_path):
    small = Pipeline(rooted.settings.model_copy(update={"audio_max_bytes": 10}))
    (tmp_path / "huge.wav").write_bytes(b"x" * 11)
    with pytest.raises(AudioAboveLimit):
        small.submit(tmp_path / "huge.wav", id_from="content")
    small.close()
    with pytest.raises(AudioMissing):
        rooted.submit(tmp_path / "gone.wav", id_from="content")
    with pytest.raises(BadRequest, match="choose one of the two"):
        rooted.submit(b"sound", id="mine", id_from="content")
    assert not waiting(client)


def test_without_a_server_the_sentence_names_it(settings):
    gone = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with Pipeline(gone) as lost, pytest.raises(BrokerAway, match=r"127\.0\.0\.1:1"):
        lost.submit(b"sound", id_from="content")


def test_the_secret_of_a_system_is_created_once(settings, client):
    client.setnx(keys.salt, b"s" * 32)
    with Pipeline(settings) as one, reaching(settings):
        one.submit(b"sound", id_from="content")
        assert client.get(keys.salt) == b"s" * 32
    assert client.ttl(keys.salt) == -1


def test_the_id_is_the_hmac_of_the_request():
    # RFC 4231, test case 2
    assert content_id.content_id(b"Jefe", "what do ya want for nothing?") == "5bdcc146bf60754e6a042426089575c75a003f08"


def test_a_worker_runs_a_content_once_by_reference_and_from_the_vault(chain):
    path: Path = chain.root / "clip.wav"
    path.write_bytes(b"light please")
    jobs = [chain.pipeline.submit(one, labels="light,music", id_from="content") for one in (path, b"light please")]
    outcomes = chain.outcomes(set(jobs))
    assert {one.transcript.text for one in outcomes.values()} == {"light please"}
    assert len(outcomes) == 1
