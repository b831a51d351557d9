"""Uploads: audio that is stored as it comes, and becomes a job's when it is whole."""

import hashlib

import pytest
import redis

from golem_chain.broker.jobs.uploads import Uploaded, Uploads
from golem_chain.broker.jobs.vault import Vault
from golem_chain.broker.keys import UNCLAIMED_S, Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.submission import Asked
from golem_chain.shared.errors import BadRequest, UploadLost, VaultFull
from golem_chain.shared.records import JobOptions

keys = Keys()
PARTS = [b"one ", b"two ", b"three"]
WHOLE = b"".join(PARTS)


def sent(uploads, parts=PARTS, expected=0):
    """Send an upload in parts, and return what it is called then."""
    name, sent_bytes = uploads.begin(), 0
    for part in parts:
        uploads.append(name, sent_bytes, part, expected)
        sent_bytes += len(part)
    return Uploaded(name, sent_bytes, hashlib.sha256(b"".join(parts)).hexdigest())


def booked(client):
    """Return what the vault has booked: in total, by name, and which of these names expire."""
    sizes = {name.decode(): int(size) for name, size in client.hgetall(keys.vault_sizes).items()}
    total = int(client.get(keys.vault_total) or 0)
    assert total == sum(sizes.values())
    return total, sizes, {name.decode() for name in client.zrange(keys.vault_leaving, 0, -1)}


@pytest.fixture
def uploads(settings, client):
    return Uploads(settings, client)


def test_parts_become_the_audio_of_a_job_and_are_booked_once(settings, client, uploads):
    with Pipeline(settings) as pipeline:
        one = sent(uploads, expected=1000)
        assert booked(client)[0] == 1000
        job = pipeline.submit_with(one, JobOptions(), id="a")
        name = keys.vault_name(keys.audio(job))
        assert booked(client) == (len(WHOLE), {name: len(WHOLE)}, set())
        assert client.get(keys.audio(job)) == WHOLE
        assert client.ttl(keys.audio(job)) == -1
        assert not client.exists(keys.upload(one.upload))
        stored = pipeline._jobs.finished([job])[0].job
        assert stored
        assert (ref := stored.audio)
        assert (ref.key, ref.size_bytes) == ("vault:a", len(WHOLE))
        assert Vault(settings, client).read(ref) == WHOLE


def test_an_upload_expires_whatever_becomes_of_its_client(client, uploads):
    one = sent(uploads)
    assert 0 < client.ttl(keys.upload(one.upload)) <= UNCLAIMED_S
    assert booked(client)[2] == {keys.vault_name(keys.upload(one.upload))}
    client.zadd(keys.vault_leaving, {keys.vault_name(keys.upload(one.upload)): 1})  # its time is over
    other = sent(uploads, [b"x"])
    assert booked(client)[1] == {keys.vault_name(keys.upload(other.upload)): 1}
    assert not client.exists(keys.upload(one.upload))


def test_a_part_or_a_claim_that_is_repeated_changes_nothing(settings, client, uploads):
    name = uploads.begin()
    for _ in range(2):
        uploads.append(name, 0, b"abc", 6)
        uploads.append(name, 0, b"abc", 6)
    uploads.append(name, 3, b"def", 6)
    one = Uploaded(name, 6, hashlib.sha256(b"abcdef").hexdigest())
    with Pipeline(settings) as pipeline:
        job, _ = pipeline._submitter.describe(Asked(one), JobOptions(), "a", None)
        pipeline._jobs.register(job)
        assert uploads.claim("a", one)
        before = booked(client)
        assert uploads.claim("a", one)
    assert booked(client) == before
    assert client.get(keys.audio("a")) == b"abcdef"


def test_a_full_vault_refuses_an_upload_before_its_bytes_come(settings, client):
    small = Uploads(settings.model_copy(update={"vault_limit": 100}), client)
    first = sent(small, [b"x"], expected=80)
    with pytest.raises(VaultFull):
        sent(small, [b"y"], expected=30)
    assert booked(client)[0] == 80
    small.append(first.upload, 1, b"z" * 99, 80)  # longer than was said
    with pytest.raises(VaultFull):
        small.append(first.upload, 100, b"z", 80)
    small.discard(first.upload)
    assert booked(client) == (0, {}, set())
    assert sent(small, [b"y"], expected=100)


def test_an_upload_makes_ended_jobs_audio_leave(settings, client):
    small = settings.model_copy(update={"vault_limit": 100})
    with Pipeline(small) as pipeline:
        pipeline.cancel(pipeline.submit(b"x" * 90))
        sent(Uploads(small, client), [b"y"], expected=80)
    assert booked(client)[0] == 80


def test_a_lost_upload_is_one_sentence_and_no_job(settings, client, uploads):
    one = sent(uploads)
    client.delete(keys.upload(one.upload))
    with pytest.raises(UploadLost, match="send it again"):
        uploads.append(one.upload, one.size_bytes, b"more", 0)
    with Pipeline(settings) as pipeline:
        with pytest.raises(UploadLost, match="send it again"):
            pipeline.submit_with(one, JobOptions(), id="a")
        with pytest.raises(BadRequest, match="no job"):
            pipeline.outcome("a")
    assert not client.exists(keys.job("a"))


def test_the_same_request_twice_is_one_job_and_leaves_no_upload(settings, client, uploads):
    with Pipeline(settings) as pipeline:
        for _ in range(2):
            pipeline.submit_with(sent(uploads), JobOptions(), id="a")
        assert client.llen(keys.queue("scribe")) == 1
        with pytest.raises(BadRequest, match="another job"):
            pipeline.submit_with(other := sent(uploads, [b"else"]), JobOptions(), id="a")
        uploads.discard(other.upload)
    assert booked(client)[0] == len(WHOLE)
    assert not list(client.scan_iter("golem:upload:*"))


def test_a_job_submitted_between_register_and_claim_keeps_its_audio(settings, client, uploads):
    with Pipeline(settings) as pipeline:
        first, second = sent(uploads), sent(uploads)
        job, _ = pipeline._submitter.describe(Asked(second), JobOptions(), "a", None)
        assert pipeline._jobs.register(job)
        pipeline.submit_with(first, JobOptions(), id="a")
        assert not uploads.claim("a", second)
    assert client.ttl(keys.audio("a")) == -1
    assert booked(client)[0] == len(WHOLE)
    assert not list(client.scan_iter("golem:upload:*"))


def test_two_uploads_of_one_registered_job_are_booked_once(settings, client, uploads):
    with Pipeline(settings) as pipeline:
        first, second = sent(uploads, expected=99), sent(uploads)
        job, _ = pipeline._submitter.describe(Asked(second), JobOptions(), "a", None)
        pipeline._jobs.register(job)
        assert uploads.claim("a", first)
        assert uploads.claim("a", second)
    assert booked(client)[:2] == (len(WHOLE), {keys.vault_name(keys.audio("a")): len(WHOLE)})


def test_bytes_and_an_upload_of_the_same_content_have_the_same_id(settings, uploads):
    with Pipeline(settings) as pipeline:
        options = JobOptions(language="en")
        digest = pipeline._submitter.digest
        assert digest(Asked(WHOLE), options) == digest(Asked(sent(uploads)), options)
        assert digest(Asked(WHOLE), options) != digest(Asked(WHOLE), JobOptions())
        id = pipeline.submit_with(WHOLE, options, id_from="content")
        assert pipeline.submit_with(sent(uploads), options, id_from="content") == id


class Struck(BaseException):
    """The door dies here."""


class Mortal(redis.Redis):
    """A client that dies at a command: before it is sent, or before its answer is read."""

    left, late = 1_000_000, False

    def execute_command(self, *args, **options):
        self.left -= 1
        if self.left < 0:
            if self.late:
                super().execute_command(*args, **options)
            raise Struck
        return super().execute_command(*args, **options)


@pytest.mark.parametrize("late", [False, True])
def test_a_door_that_dies_at_any_command_of_an_upload_leaves_what_expires_or_a_job(settings, client, monkeypatch, late):
    monkeypatch.setattr("golem_chain.broker.pipeline.connect", lambda given: Mortal.from_url(given.redis_url))
    commands, struck = 0, True
    while struck:
        client.flushall()
        with Pipeline(settings) as pipeline:
            pipeline._submitter.salt()
            mortal = pipeline._client
            assert isinstance(mortal, Mortal)
            mortal.left, mortal.late = commands, late
            try:
                pipeline.submit_with(sent(pipeline.uploads, expected=20), JobOptions(), id="a")
                struck = False
            except Struck:
                commands += 1
            mortal.left = 1_000_000
            jobs = client.llen(keys.queue("scribe"))
            lasting = {key for key in client.scan_iter("golem:[ujv]*:*") if client.ttl(key) == -1}
            assert lasting == ({keys.job("a").encode(), keys.audio("a").encode()} if jobs else set())
            left = {
                name.decode() for name in client.zrangebyscore(keys.vault_leaving, 0, 0)
            }  # the next booking drops it
            assert booked(client)[1].keys() - left == {
                keys.vault_name(key.decode()) for key in client.scan_iter("golem:[uv]*:*")
            }
            pipeline.submit_with(sent(pipeline.uploads), JobOptions(), id="a")  # its client tries again
            assert client.llen(keys.queue("scribe")) == 1
            assert client.get(keys.audio("a")) == WHOLE
    assert commands >= 6
