"""The vault: bytes up to a total limit, files only under the allowed roots."""

import hashlib
import json
import os
import threading
import time
from pathlib import Path

import pytest

from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.jobs.vault import Vault, read_file, within
from golem_chain.broker.keys import UNCLAIMED_S, Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import AudioAboveLimit, AudioMissing, BadAudio, BadLabels, BadRequest, VaultFull
from golem_chain.shared.records import AudioRef, Outcome

keys = Keys()


def ref_of(job, data):
    return AudioRef(key=f"vault:{job}", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def put(held, job, data, wait_s=0.0):
    held.put(job, data, ref_of(job, data), wait_s)
    return ref_of(job, data)


def limited(settings, limit):
    return settings.model_copy(update={"vault_limit": limit})


def test_what_was_put_is_read_byte_for_byte_and_stored_raw(settings, client):
    data = bytes(range(256)) * 10
    held = Vault(settings, client)
    assert held.read(put(held, "a", data)) == data
    assert client.get(keys.audio("a")) == data


def test_changed_bytes_are_refused(settings, client):
    held = Vault(settings, client)
    ref = put(held, "a", b"true")
    client.set(keys.audio("a"), b"false")
    with pytest.raises(BadAudio, match="SHA-256"):
        held.read(ref)


def test_missing_bytes_are_one_sentence(settings, client):
    with pytest.raises(AudioMissing, match="submit it again"):
        Vault(settings, client).read(AudioRef(key="vault:gone", size_bytes=1))


def test_a_full_vault_waits_and_then_says_so(settings, client):
    held = Vault(limited(settings, 100), client)
    put(held, "a", b"x" * 80)
    begun = time.monotonic()
    with pytest.raises(VaultFull, match=r"80 B of 100 B.*GOLEM_VAULT_LIMIT"):
        put(held, "b", b"y" * 40, wait_s=0.2)
    assert 0.2 <= time.monotonic() - begun < 30
    assert held.size_bytes == 80
    assert not client.exists(keys.audio("b"))


def test_a_waiting_put_goes_on_when_a_job_ends(settings, client):
    small = limited(settings, 100)
    held = Vault(small, client)
    put(held, "a", b"x" * 80)
    client.zrem(keys.vault_leaving, keys.vault_name(keys.audio("a")))  # its message is published
    client.hset(keys.job("a"), "queued", "1")
    client.persist(keys.audio("a"))
    waiting = threading.Thread(target=put, args=(held, "b", b"y" * 40, 60))
    waiting.start()
    time.sleep(0.1)  # it must still be waiting after this
    assert waiting.is_alive()
    Outcomes(small, client).write(Outcome(job="a", name="a", state="done"))
    waiting.join(60)
    assert client.get(keys.audio("b")) == b"y" * 40
    assert held.size_bytes == 40
    assert not client.exists(keys.audio("a")), "what has ended makes room before its time"


def many(n):
    """A label set too large for a record, another for each n."""
    return ",".join(f'label_{n}_{m}="the speaker wants thing number {m}"' for m in range(200))


def test_label_sets_and_vocabularies_count_towards_the_limit_and_leave_with_their_last_job(settings, client):
    small = limited(settings, 60_000)
    with Pipeline(small) as pipeline:
        submit = lambda n: pipeline.submit(b"x", labels=many(n), wait_s=0.1)  # noqa: E731
        first = [submit(0), submit(0)]
        one = Vault(small, client).size_bytes
        assert one > 10_000
        for n in range(1, 60_000 // one):
            submit(n)
        with pytest.raises(VaultFull):
            submit(10)
        assert Vault(small, client).size_bytes <= 60_000
        Outcomes(small, client).end(first[0], "done")
        with pytest.raises(VaultFull):
            submit(20)
        Outcomes(small, client).end(first[1], "done")
        again = submit(20)  # that of the ended jobs made room
        assert pipeline.outcome(again) is None
        [kept] = [json.loads(client.hget(keys.job(again), "job"))["labels_key"]]
        assert client.ttl(kept) == -1


def test_a_label_set_that_is_used_again_in_time_stays(settings, client):
    with Pipeline(settings) as pipeline:
        first = pipeline.submit(b"x", labels=many(0))
        Outcomes(settings, client).end(first, "done")
        [key] = [key.decode() for key in client.scan_iter("golem:labels:*")]
        assert client.zscore(keys.vault_leaving, keys.vault_name(key))
        pipeline.submit(b"x", labels=many(0))
        assert client.ttl(key) == -1
        assert client.zscore(keys.vault_leaving, keys.vault_name(key)) is None


def test_a_label_set_that_can_never_fit_is_refused_at_once(settings):
    with Pipeline(limited(settings, 1000)) as pipeline, pytest.raises(BadLabels, match="raise GOLEM_VAULT_LIMIT"):
        pipeline.submit(b"x", labels=many(0))


def test_audio_that_can_never_fit_is_refused_at_once(settings, client):
    with pytest.raises(AudioAboveLimit, match="GOLEM_AUDIO_ROOT"):
        put(Vault(limited(settings, 10), client), "a", b"x" * 11, wait_s=60)


def test_bytes_that_nobody_claimed_go_by_themselves(settings, client):
    held = Vault(settings, client)
    put(held, "a", b"x" * 80)
    assert 0 < client.ttl(keys.audio("a")) <= UNCLAIMED_S
    client.zadd(keys.vault_leaving, {keys.vault_name(keys.audio("a")): 1})  # expired
    put(held, "b", b"y")
    assert held.size_bytes == 1


def test_the_same_job_put_twice_is_booked_once(settings, client):
    held = Vault(settings, client)
    put(held, "a", b"x" * 80)
    put(held, "a", b"x" * 80)
    assert held.size_bytes == 80


def reserved(client, entries, when, *sets):
    """Reserve `entries` entries of 10 bytes that expire at `when`, Unix seconds."""
    ids = [f"old{n}" for n in range(entries)]
    client.hset(keys.vault_sizes, mapping=dict.fromkeys(ids, 10))
    client.incrby(keys.vault_total, 10 * entries)
    for key in sets:
        client.zadd(key, dict.fromkeys(ids, when))


def test_one_reservation_drops_only_some_of_very_many_expired_entries(settings, client):
    reserved(client, 1000, 1, keys.vault_leaving)
    held = Vault(settings, client)
    put(held, "new", b"x")
    assert held.size_bytes == 9001
    for _ in range(10):
        put(held, "new", b"x")
    assert (held.size_bytes, client.hlen(keys.vault_sizes)) == (1, 1)


@pytest.mark.parametrize("sets", [(keys.vault_leaving,), (keys.vault_leaving, keys.vault_ended)])
def test_audio_that_needs_the_space_of_many_small_entries_gets_it_without_waiting(settings, client, sets):
    when = 1 if len(sets) == 1 else time.time() + 1000
    reserved(client, 1000, when, *sets)
    held = Vault(limited(settings, 10_000), client)
    put(held, "new", b"x" * 9500, wait_s=0)
    assert held.size_bytes <= 10_000
    assert client.hlen(keys.vault_sizes) <= 51


# -- files


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "clip.wav").write_bytes(b"sound")
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def read_ref(settings, client, root, path):
    held = Vault(settings.model_copy(update={"audio_root": (root,)}), client)
    return held.read(AudioRef(key=f"file:{path}", size_bytes=0))


def test_a_file_under_the_root_is_read(settings, client, root):
    assert read_ref(settings, client, root, root / "clip.wav") == b"sound"


@pytest.mark.parametrize("path", ["../secret", "link", "way/secret", "/etc/passwd", "nothing", "loop", "a\0b"])
def test_no_path_leads_out_of_the_root(settings, client, root, path):
    (root / "link").symlink_to(root.parent / "secret")
    (root / "way").symlink_to(root.parent)
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(AudioMissing) as error:
        read_ref(settings, client, root, root / path)
    assert "\n" not in error.value.message


def test_a_link_that_stays_inside_is_followed(settings, client, root):
    (root / "again.wav").symlink_to(root / "clip.wav")
    assert read_ref(settings, client, root, root / "again.wav") == b"sound"


def test_without_a_root_no_file_is_read(root):
    with pytest.raises(AudioMissing, match="GOLEM_AUDIO_ROOT"):
        within(root / "clip.wav", ())


def test_folders_pipes_and_devices_are_no_audio(root):
    os.mkfifo(root / "pipe")
    for path in (root, root / "pipe", Path("/dev/zero")):
        with pytest.raises(BadRequest, match="not a file"):
            read_file(path, 1000)


def test_a_file_above_the_limit_is_not_read(root):
    with (root / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(AudioAboveLimit, match="GOLEM_AUDIO_MAX_BYTES"):
        read_file(root / "huge", 1000)
