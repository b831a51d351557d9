"""The producer's API without a worker: ids, sizes, expiry, error messages."""

import json
import threading
import time
from base64 import b64decode

import pytest
import redis

from golem_chain.broker.address import masked
from golem_chain.broker.asynchronous.ends import _Listening
from golem_chain.broker.asynchronous.pipeline import AsyncPipeline
from golem_chain.broker.connection import connect, reaching
from golem_chain.broker.jobs import announcements, outcomes
from golem_chain.broker.jobs import records as books
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.jobs.publisher import Publisher
from golem_chain.broker.keys import UNCLAIMED_S, Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import (
    AudioAboveLimit,
    AudioMissing,
    BadLabels,
    BadRequest,
    BadSetting,
    BadVocabulary,
    BrokerAway,
    VaultFull,
)
from golem_chain.shared.records import Job, Label, LabelSet, OracleParams, Outcome, Transcript, Vocabulary
from golem_chain.shared.settings import Settings
from tests.support.blocking import Blocking
from tests.support.command_count import commands
from tests.support.wire import Wire

keys = Keys()

MANY = ",".join(f'label_{n}="the speaker wants thing number {n}"' for n in range(200))


@pytest.fixture(params=[Pipeline, Blocking], ids=["sync", "asyncio"])
def pipeline(request, settings):
    """A pipeline of either kind: what one promises, the other does."""
    with request.param(settings) as made:
        yield made


sync_only = pytest.mark.parametrize("pipeline", [Pipeline], ids=["sync"], indirect=True)


def messages(client, queue="scribe"):
    return [json.loads(raw) for raw in client.lrange(keys.queue(queue), 0, -1)]


def record(client, job):
    return Job.model_validate_json(client.hget(keys.job(job), "job"))


def test_a_job_is_one_message_with_the_audio_beside_it(pipeline, client):
    job = pipeline.submit(b"sound", labels="a,b", name="clip.wav")
    [message] = messages(client)
    assert message["headers"]["id"] == f"{job}.scribe"
    assert message["headers"]["task"] == "golem.scribe"
    assert b64decode(message["body"]) == b"[[], {}, {}]", "what was asked is in the record"
    asked = record(client, job)
    assert (asked.id, asked.name, asked.audio.key, asked.audio.size_bytes) == (job, "clip.wav", f"vault:{job}", 5)
    assert client.get(keys.audio(job)) == b"sound"
    assert client.ttl(keys.audio(job)) == client.ttl(f"golem:job:{job}") == -1, "kept until the Outcome"


def test_the_words_of_users_are_in_no_message(pipeline, client):
    pipeline.submit(b"sound", labels="secret_label", name="secret_name")
    assert "secret" not in json.dumps(messages(client))


@pytest.mark.parametrize("labels", [None, "a,b,c", MANY])
@pytest.mark.parametrize("name", ["clip.wav", "é" * 4000])
def test_a_message_stays_under_600_bytes(pipeline, client, labels, name):
    pipeline.submit(b"sound" * 10_000, labels=labels, name=name, language="en", id="x" * 64)
    [message] = client.lrange(keys.queue("scribe"), 0, -1)
    assert len(message) < 600
    assert record(client, "x" * 64).name == name


@sync_only
def test_a_queued_job_takes_less_than_3_kb_beside_its_audio(pipeline, client):
    pipeline.submit(b"sound", labels="lights_on,lights_off,music,stop")  # the keys that all jobs share
    before = client.info("memory")["used_memory_dataset"]
    for _ in range(300):
        pipeline.submit(b"sound", labels="lights_on,lights_off,music,stop", name="a recording.wav")
    assert (client.info("memory")["used_memory_dataset"] - before) / 300 < 3000


def test_the_largest_inline_set_still_fits(pipeline, client):
    labels = LabelSet(labels=tuple(Label(name=f"n{n:03}", phrasings=("й" * 10,)) for n in range(19)))
    assert 1800 < len(json.dumps(labels.wire())) <= books.INLINE_BYTES
    oracle = OracleParams(max_new_tokens=1024, temperature=0.123, top_k=50, top_p=0.95, seed=2**62)
    pipeline.submit(b"sound", labels=labels, name="clip.wav", id="x" * 64, oracle=oracle, task="translate")
    assert len(client.hget(keys.job("x" * 64), "job")) < 4096
    assert not list(client.scan_iter("golem:labels:*"))


def test_large_label_sets_are_stored_once_by_hash_and_go_after_the_last_job(pipeline, settings, client):
    first, second = (pipeline.submit(b"sound", labels=MANY) for _ in "12")
    [key] = client.scan_iter("golem:labels:*")
    one, two = record(client, first), record(client, second)
    assert one.labels is None
    assert one.labels_key == two.labels_key == key.decode()
    assert len(books.Jobs(client, keys).get_labels(key.decode()).labels) == 200
    assert client.ttl(key) == -1
    ends = Outcomes(settings, client)
    ends.end(first, "done")
    assert client.ttl(key) == -1, "the second job still needs it"
    ends.end(second, "done")
    assert 0 < client.ttl(key) <= settings.keep_s


def test_large_vocabularies_are_stored_once_by_hash_and_go_after_the_last_job(pipeline, settings, client):
    words = ",".join(f"phrase number {n}" for n in range(200))
    first, second = (pipeline.submit(b"sound", labels=MANY, vocabulary=words) for _ in "12")
    [key] = client.scan_iter("golem:vocabulary:*")
    one, two = record(client, first), record(client, second)
    assert one.vocabulary is None
    assert one.vocabulary_key == two.vocabulary_key == key.decode()
    assert len(books.Jobs(client, keys).get_vocabulary(key.decode()).phrases) == 200
    assert len(client.hget(keys.job(first), "job")) < 4096
    ends = Outcomes(settings, client)
    ends.end(first, "done")
    assert client.ttl(key) == -1, "the second job still needs it"
    ends.end(second, "done")
    assert 0 < client.ttl(key) <= settings.keep_s
    assert 0 < client.ttl(one.labels_key) <= settings.keep_s


def test_labels_and_vocabulary_share_the_room_of_a_record(pipeline, client):
    labels = LabelSet(labels=tuple(Label(name=f"n{n:03}", phrasings=("й" * 10,)) for n in range(19)))
    words = Vocabulary(phrases=tuple(f"{n} й" for n in range(60)), fillers=("maybe",))
    pipeline.submit(b"sound", labels=labels, vocabulary=words, name="clip.wav", id="x" * 64, task="translate")
    assert len(client.hget(keys.job("x" * 64), "job")) < 4096
    pipeline.submit(b"sound", labels="a,b", vocabulary="yes,no", id="small")
    assert record(client, "small").vocabulary == Vocabulary(phrases=("yes", "no"))


def test_a_vocabulary_that_cannot_be_used_is_refused_at_once(pipeline, client):
    with pytest.raises(BadVocabulary, match="is reserved"):
        pipeline.submit(b"sound", labels='a="unknown"', vocabulary="from-labels")
    assert not messages(client)


def test_an_id_of_ones_own_makes_submitting_again_harmless(pipeline, client):
    for _ in range(3):
        assert pipeline.submit(b"sound", id="mine", labels=MANY, name="other name each time") == "mine"
    assert len(messages(client)) == 1
    with pytest.raises(BadRequest, match=r"id mine belongs to another job"):
        pipeline.submit(b"other sound", id="mine", labels=MANY)
    assert client.get(keys.audio("mine")) == b"sound"


@sync_only
def test_a_job_whose_producer_died_before_sending_is_sent_by_the_next_try(pipeline, client, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "submit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pipeline.submit(b"sound", id="mine")
    assert 0 < client.ttl("golem:job:mine") <= UNCLAIMED_S
    assert pipeline.submit(b"sound", id="mine") == "mine"
    assert len(messages(client)) == 1
    assert client.ttl("golem:job:mine") == client.ttl(keys.audio("mine")) == -1


def test_a_submit_that_failed_leaves_nothing(pipeline, settings, client):
    full = Pipeline(settings.model_copy(update={"vault_limit": 10}))
    full.submit(b"12345678", id="first")
    with pytest.raises(VaultFull):
        full.submit(b"12345678", id="second", wait_s=0.1)
    full.close()
    assert not client.exists("golem:job:second", keys.audio("second"))


def test_a_submit_after_the_end_runs_nothing(pipeline, settings, client):
    pipeline.submit(b"sound", id="mine")
    client.delete(keys.queue("scribe"))
    Outcomes(settings, client).end("mine", "done")
    pipeline.submit(b"sound", id="mine")
    assert messages(client) == []


def test_files_under_the_root_travel_by_reference_and_others_through_the_vault(settings, client, tmp_path):
    root = tmp_path / "shared"
    root.mkdir()
    (root / "in.wav").write_bytes(b"in")
    (tmp_path / "out.wav").write_bytes(b"out")
    (root / "link.wav").symlink_to(tmp_path / "out.wav")
    paths = (root / "in.wav", tmp_path / "out.wav", root / "link.wav")
    with Pipeline(settings.model_copy(update={"audio_root": (root,)})) as pipeline:
        jobs = [pipeline.submit(path) for path in paths]
    found = [record(client, job).audio.key for job in jobs]
    assert found[0] == f"file:{root / 'in.wav'}"
    assert [key.partition(":")[0] for key in found] == ["file", "vault", "vault"]


def test_what_cannot_be_submitted_says_why(pipeline, settings, tmp_path):
    with pytest.raises(AudioMissing, match="No such file"):
        pipeline.submit(tmp_path / "none.wav")
    with pytest.raises(BadRequest, match="is a folder"):
        pipeline.submit(tmp_path)
    with pytest.raises(BadLabels):
        pipeline.submit(b"sound", labels="a,a")
    with pytest.raises(BadRequest, match="id='no blanks"):
        pipeline.submit(b"sound", id="no blanks here")
    small = Pipeline(settings.model_copy(update={"audio_max_bytes": 4}))
    with pytest.raises(AudioAboveLimit, match="GOLEM_AUDIO_MAX_BYTES"):
        small.submit(b"sound")


# -- outcomes


def test_an_outcome_is_written_once_and_everything_of_the_job_then_expires(pipeline, settings, client):
    job = pipeline.submit(b"sound", name="n" * 500)
    assert pipeline.outcome(job) is None
    ends = Outcomes(settings, client)
    assert ends.end(job, "done")
    assert not ends.end(job, "cancelled")
    assert not ends.write(Outcome(job=job, name="", state="failed"))
    outcome = pipeline.outcome(job)
    assert (outcome.state, outcome.name) == ("done", "n" * 500), "the name in full"
    for key in (f"golem:outcome:{job}", f"golem:job:{job}", keys.audio(job)):
        assert 0 < client.ttl(key) <= settings.keep_s


@pytest.fixture
def once_waited_for(monkeypatch):
    """Call something in a thread as soon as `wait` has polled its jobs once and is subscribed."""
    threads, looked, look, look_once = [], threading.Event(), Outcomes._look, _Listening._look_once

    def looks(self, ids):
        yield from look(self, ids)
        looked.set()

    async def looks_once(self):
        await look_once(self)
        if not self._due:
            looked.set()

    monkeypatch.setattr(Outcomes, "_look", looks)
    monkeypatch.setattr(_Listening, "_look_once", looks_once)

    def start(call, *args):
        def wait():
            assert looked.wait(60)
            call(*args)

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


def test_wait_yields_as_jobs_end_and_each_once(pipeline, settings, client):
    jobs = [pipeline.submit(b"sound") for _ in range(5)]
    ends, ended, heard = Outcomes(settings, client), [], threading.Semaphore(0)

    def end_all():
        for n in (3, 1, 0, 4, 2):
            ended.append(n)
            ends.end(jobs[n], "done")
            assert heard.acquire(timeout=60)  # the next one ends after this one was yielded

    thread = threading.Thread(target=end_all)
    thread.start()
    seen = []
    for outcome in pipeline.wait([*jobs, jobs[0]], timeout_s=60):
        seen.append((outcome.job, len(ended)))
        heard.release()
    thread.join()
    assert [job for job, _ in seen] == [jobs[n] for n in (3, 1, 0, 4, 2)]
    assert [already for _, already in seen] == [1, 2, 3, 4, 5], "they came one by one"


def test_wait_finds_an_outcome_whose_announcement_was_lost(pipeline, settings, client, once_waited_for):
    job = pipeline.submit(b"sound")
    body = Outcome(job=job, name="a", state="done").model_dump_json()
    once_waited_for(client.set, f"golem:outcome:{job}", body)
    assert [outcome.job for outcome in pipeline.wait([job], timeout_s=60)] == [job]


@pytest.mark.parametrize("kind", [Pipeline, Blocking])
def test_wait_rides_out_a_restart_of_redis(start_server, tmp_path, once_waited_for, kind):
    with start_server(tmp_path, appendonly=True, fsync="always") as server:
        settings = Settings.read(_env_file=None, redis_url=server.url)
        with kind(settings) as pipeline, connect(settings, 20) as client:
            job = pipeline.submit(b"sound")
            client.config_set("appendfsync", "always")
            client.set("any", "write")  # everything before it is on disk

            def restart():
                server.kill()
                time.sleep(0.5)  # downtime
                server.restart()
                Outcomes(settings, client).end(job, "done")

            once_waited_for(restart)
            assert [outcome.state for outcome in pipeline.wait([job], timeout_s=60)] == ["done"]


@pytest.fixture
def many(client):
    """The ids of 5,000 jobs under way."""
    ids = [f"job{n}" for n in range(5000)]
    with client.pipeline() as pipe:
        for job in ids:
            pipe.hset(f"golem:job:{job}", "queued", "1")
        pipe.execute()
    return ids


def test_waiting_for_many_jobs_costs_few_commands_while_none_ends(pipeline, client, many):
    with commands(client) as spent:
        assert list(pipeline.wait(many, timeout_s=2.5)) == []
    assert spent() < 200  # two for 200 jobs at the start, then ten a second


def test_in_each_second_some_jobs_are_looked_at_until_it_was_the_turn_of_all(pipeline, client, many, once_waited_for):
    lost = Outcome(job=many[4500], name="a", state="done").model_dump_json()
    once_waited_for(client.set, f"golem:outcome:{many[4500]}", lost)
    assert [one.job for one in pipeline.wait(many, timeout_s=8)] == [many[4500]]


def test_after_a_lost_connection_all_jobs_are_looked_at(pipeline, client, many, once_waited_for, monkeypatch):
    monkeypatch.setattr(outcomes, "POLL_S", 1000.0)

    def end_unheard():
        for job in (many[1], many[4999]):
            client.set(f"golem:outcome:{job}", Outcome(job=job, name="a", state="done").model_dump_json())
        client.client_kill_filter(_type="pubsub")

    once_waited_for(end_unheard)
    found = pipeline.wait(many, timeout_s=60)
    assert [next(found).job, next(found).job] == [many[1], many[4999]]


@pytest.mark.parametrize("kind", [Pipeline, Blocking])
def test_a_connection_that_died_silently_is_noticed(kind, settings, client, once_waited_for, monkeypatch):
    monkeypatch.setattr(outcomes, "POLL_S", 1000.0)
    monkeypatch.setattr(announcements, "PING_S", 0.2)
    monkeypatch.setattr(announcements, "SILENT_S", 0.5)
    wire = Wire(settings.redis_url)
    try:
        with kind(settings.model_copy(update={"redis_url": wire.url})) as pipeline:
            job = pipeline.submit(b"sound")

            def end_unheard():
                wire.forget()
                Outcomes(settings, client).end(job, "done")

            once_waited_for(end_unheard)
            assert [one.job for one in pipeline.wait([job], timeout_s=60)] == [job]
    finally:
        wire.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_quiet_connection_is_kept_in_both_protocols(settings, client, pipeline, monkeypatch, protocol):
    monkeypatch.setattr(announcements, "PING_S", 0.2)
    monkeypatch.setattr(announcements, "SILENT_S", 0.5)
    job = pipeline.submit(b"sound")
    with redis.Redis.from_url(settings.redis_url, protocol=protocol) as own:
        own.ping()
        before = client.info("stats")["total_connections_received"]
        assert list(Outcomes(settings, own).wait([job], timeout_s=2)) == []
        assert client.info("stats")["total_connections_received"] - before <= 1


@sync_only
def test_watch_ticks_although_jobs_end_all_the_time(pipeline, settings, client, many):
    ends, stop, ticks, ended = Outcomes(settings, client), threading.Event(), 0, 0

    def end_all():
        for job in many:
            if stop.is_set():
                return
            ends.write(Outcome(job=job, name="", state="done"))

    thread = threading.Thread(target=end_all)
    thread.start()
    for outcome in pipeline.watch(many, tick_s=0.05):
        ticks, ended = ticks + (outcome is None), ended + (outcome is not None)
        if ticks >= 3 and ended >= 3:
            break
    stop.set()
    thread.join()
    assert ended < len(many)


def test_wait_ends_at_its_timeout_and_refuses_unknown_jobs(pipeline):
    job = pipeline.submit(b"sound")
    begun = time.monotonic()
    assert list(pipeline.wait([job], timeout_s=0.3)) == []
    assert 0.3 <= time.monotonic() - begun < 30  # without a timeout it would wait forever
    for ask in (pipeline.outcome, pipeline.cancel, lambda job: list(pipeline.wait([job]))):
        with pytest.raises(BadRequest, match="no job 'nobody'"):
            ask("nobody")


def test_a_cancelled_job_ends_as_cancelled_with_what_was_there(pipeline, client):
    job = pipeline.submit(b"sound")
    client.hset(f"golem:job:{job}", "transcript", Transcript(text="so far").model_dump_json())
    outcome = pipeline.cancel(job)
    assert (outcome.state, outcome.error.code, outcome.transcript.text) == ("cancelled", "cancelled", "so far")
    assert pipeline.cancel(job) == outcome
    assert pipeline.progress([job]) == {"scribe": 1, "interpreter": 1, "oracle": 1}


# -- Redis unavailable


@pytest.mark.parametrize("kind", [Pipeline, Blocking])
def test_redis_away_is_one_sentence_without_the_password(kind):
    away = Settings.read(_env_file=None, redis_url="redis://user:hunter2@127.0.0.1:1/0")
    with kind(away) as pipeline:
        for call in (
            lambda: pipeline.submit(b"x"),
            lambda: pipeline.outcome("a"),
            lambda: list(pipeline.wait(["a"], 0)),
        ):
            with pytest.raises(BrokerAway) as error:
                call()
            assert "redis://***@127.0.0.1:1/0 cannot be reached" in error.value.message
            assert "GOLEM_REDIS_URL" in error.value.message
            assert "hunter2" not in str(error.value)
            assert error.value.__cause__ is None


@pytest.mark.parametrize("kind", [Pipeline, Blocking])
def test_a_wrong_password_is_named_as_such(kind, settings):
    wrong = settings.model_copy(update={"redis_url": settings.redis_url.replace("@", "wrong@")})
    with kind(wrong) as pipeline, pytest.raises(BrokerAway, match="rejected the password"):
        pipeline.submit(b"x")


def test_a_server_that_is_full_refuses_and_says_so(settings, client):
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerAway, match="is out of memory"), reaching(settings):
            connect(settings).set("a", "b")
    finally:
        client.config_set("maxmemory", "0")


@pytest.mark.parametrize("connecting", [connect, AsyncPipeline])
def test_an_address_that_is_none_is_refused(connecting):
    with pytest.raises(BadSetting, match=r"GOLEM_REDIS_URL=htp://\*\*\*@host"):
        connecting(Settings.read(_env_file=None, redis_url="htp://a:secret@host"))
    assert masked("redis://host") == "redis://host"


def test_a_thousand_jobs_are_handed_in_within_a_minute(pipeline, client):
    begun = time.monotonic()
    for n in range(100):
        pipeline.submit(b"sound" * 1000, labels="a,b", id=f"job{n}")
    assert time.monotonic() - begun < 6
    assert client.llen(keys.queue("scribe")) == 100
