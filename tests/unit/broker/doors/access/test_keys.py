"""Files and settings of keys: what is wrong is named, and a change loses nothing."""

import stat
import threading

import pytest

from golem_chain.broker.doors.access import keys
from golem_chain.broker.doors.access.keyring import KeyRing
from golem_chain.broker.doors.access.keys import Key
from golem_chain.shared.errors import BadSetting
from golem_chain.shared.settings import Settings

HASH, OTHER = "a" * 64, "b" * 64


def test_a_key_has_256_random_bits_and_no_two_are_the_same():
    made = {keys.make() for _ in range(100)}
    assert len(made) == 100
    assert all(len(one) == len("golem_") + 43 for one in made)  # 43 characters of 6 bits hold 256


def test_the_setting_holds_names_and_hashes():
    found = keys.of_setting(f"alice={HASH}, bob={OTHER.upper()}")
    assert [(one.name, one.sha256) for one in found] == [("alice", HASH), ("bob", OTHER)]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("golem_secret", "NAME=SHA256"),
        (f"alice={HASH[1:]}", "entry 1 is not a SHA-256"),
        (f"bob={OTHER},a/b={HASH}", "entry 2 has no valid name"),
        (f"alice={HASH},alice={OTHER}", "two keys with the name of alice"),
        (f"alice={HASH},bob={HASH}", "two keys with the sha256 of bob"),
    ],
)
def test_a_wrong_setting_is_named_and_never_repeated(setting, told):
    with pytest.raises(BadSetting) as refused:
        keys.of_setting(setting)
    assert told in refused.value.message
    assert "golem_secret" not in refused.value.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[key]", "not valid TOML"),
        ("\xff", "not valid TOML"),
        ('key = "x"', "tables [[key]]"),
        ("[other]", "tables [[key]]"),
        ('[[key]]\nname = "a"', "key 1, sha256"),
        (f'[[key]]\nname = "a"\nsha256 = "{HASH}"\nlimit = 1', "key 1, limit"),
        (f'[[key]]\nname = "a"\nsha256 = "{HASH}"\nupload = "x"', "key 1, upload: 'x' is not a size"),
        (f'[[key]]\nname = "a"\nsha256 = "{HASH}"\nupload = 1.5', None),
        (f'[[key]]\nname = "a"\nsha256 = "{HASH}"\nqueued = 0', "key 1, queued"),
        (f'[[key]]\nname = "a"\nsha256 = "{HASH}"\noperator = "maybe"', "key 1, operator"),
        ("key = [1]", "key 1, table"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_file_and_field(text, told, tmp_path):
    path = tmp_path / "keys.toml"
    path.write_bytes(text.encode("latin-1"))
    if told is None:
        assert keys.of_file(path)[0].upload == 1
        return
    with pytest.raises(BadSetting) as refused:
        keys.of_file(path)
    assert told in refused.value.message
    assert str(path) in refused.value.message


def test_a_change_keeps_mode_and_place_of_the_file(tmp_path):
    real, link = tmp_path / "real.toml", tmp_path / "keys.toml"
    keys.add(real, Key(name="a", sha256=HASH))
    real.chmod(0o640)
    link.symlink_to(real)
    keys.add(link, Key(name="b", sha256=OTHER))
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [one.name for one in keys.of_file(real)] == ["a", "b"]
    assert {one.name for one in tmp_path.iterdir()} == {"keys.toml", "real.toml"}


def test_many_that_add_at_once_lose_no_key(tmp_path):
    path = tmp_path / "keys.toml"
    threads = [threading.Thread(target=keys.add, args=(path, Key(name=f"k{n}", sha256=f"{n:064x}"))) for n in range(20)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert {one.name for one in keys.of_file(path)} == {f"k{n}" for n in range(20)}


def test_a_broken_file_is_not_overwritten(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text("[[key]")
    with pytest.raises(BadSetting):
        keys.add(path, Key(name="a", sha256=HASH))
    assert path.read_text() == "[[key]"


def test_the_owner_stays_with_the_key_and_does_not_show_it():
    one, again, renamed, other = (
        Key(name="a", sha256=HASH), Key(name="a", sha256=HASH, queued=3), Key(name="b", sha256=HASH),
        Key(name="a", sha256=OTHER),
    )  # fmt: skip
    assert one.owner == again.owner == renamed.owner != other.owner
    assert len(one.owner) == 32
    assert one.owner not in HASH


def ring(value):
    return KeyRing.of(Settings.read(_env_file=None, api_keys=value))


def test_a_ring_knows_its_keys_and_no_others():
    key = keys.make()
    found = ring(f"alice={keys.hash_of(key)}")
    assert found.caller_of(key).name == "alice"
    for wrong in ("", key[:-1], key + "x", key.upper(), keys.hash_of(key), "x" * 10_000, "\udcff"):
        assert found.caller_of(wrong) is None


def test_no_setting_is_no_ring_and_an_empty_file_is_an_error(tmp_path):
    assert ring(None) is None
    path = tmp_path / "keys.toml"
    path.write_text("")
    for empty in (f"@{path}", ","):
        with pytest.raises(BadSetting, match="golem keys add"):
            ring(empty)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o602, True)])
def test_a_file_that_others_can_use_is_warned_of(tmp_path, caplog, mode, warned):
    path = tmp_path / "keys.toml"
    keys.add(path, Key(name="a", sha256=HASH))
    path.chmod(mode)
    ring(f"@{path}")
    assert ("chmod 600" in caplog.text) is warned


def test_the_last_key_that_is_removed_leaves_a_door_that_opens_for_nobody(tmp_path):
    path, key = tmp_path / "keys.toml", keys.make()
    keys.add(path, Key(name="a", sha256=keys.hash_of(key)))
    found = ring(f"@{path}")
    keys.remove(path, "a")
    found.refresh()
    assert found.caller_of(key) is None


def test_a_file_that_is_gone_changes_nothing_and_is_logged_once(tmp_path, caplog):
    path, key = tmp_path / "keys.toml", keys.make()
    keys.add(path, Key(name="a", sha256=keys.hash_of(key)))
    found = ring(f"@{path}")
    path.unlink()
    found.refresh()
    found.refresh()
    assert found.caller_of(key).name == "a"
    assert caplog.text.count("stay as they were") == 1
