"""`golem keys`: a key is printed once, its hash is kept, and what it wrote the server reads."""

import json
import stat

import pytest

from golem_chain.broker.doors.access import keys


@pytest.fixture
def file(surroundings, tmp_path):
    return tmp_path / "etc" / "keys.toml"


def test_a_key_is_printed_once_and_the_file_holds_its_hash(golem, file):
    code, out, err = golem("keys", "add", "alice", "--file", file)
    key = out.strip()
    assert code == 0
    assert len(key) > 40
    assert str(file) in err
    assert key not in file.read_text()
    assert keys.of_file(file)[0].sha256 == keys.hash_of(key)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_limits_are_kept_and_listed(golem, file):
    golem("keys", "add", "alice", "--file", file, "--requests-per-min", "60", "--upload", "25MiB", "--queued", "10")
    golem("keys", "add", "root", "--file", file, "--operator")
    alice, root = keys.of_file(file)
    assert (alice.requests_per_min, alice.upload, alice.queued, alice.operator) == (60, 25 << 20, 10, False)
    assert (root.requests_per_min, root.upload, root.queued, root.operator) == (None, None, None, True)
    _, out, _ = golem("keys", "list", "--file", file)
    assert "alice" in out
    assert "26.2 MB" in out
    assert alice.sha256 not in out
    _, out, _ = golem("keys", "list", "--file", file, "--json")
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["alice", "root"]


def test_the_file_of_the_setting_is_the_default(golem, file, monkeypatch):
    monkeypatch.setenv("GOLEM_API_KEYS", f"@{file}")
    assert golem("keys", "add", "alice")[0] == 0
    assert golem("keys", "remove", "alice")[0] == 0
    assert keys.of_file(file) == ()


def test_without_a_file_the_entry_of_the_setting_is_printed(golem, surroundings):
    code, out, err = golem("keys", "add", "alice")
    assert code == 0
    entry = err.split()[-1]
    assert entry == f"alice={keys.hash_of(out.strip())}"
    assert keys.of_setting(entry)[0].name == "alice"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["add", "a b", "--file", "keys.toml"], "A name has 1 to 64"),
        (["add", "alice", "--file", "keys.toml", "--upload", "many"], "--upload: 'many' is not a size"),
        (["add", "alice", "--file", "/proc/nope/keys.toml"], "Cannot use the folder of /proc/nope/keys.toml"),
        (["add", "alice", "--operator"], "need a file"),
        (["remove", "alice"], "--file FILE"),
        (["remove", "alice", "--file", "keys.toml"], "has no key alice"),
        (["list"], "Name the file of keys"),
        (["list", "--file", "absent.toml"], "Cannot read absent.toml"),
        (["list", "--file", "a.wav"], "a.wav"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(golem, surroundings, args, told):
    code, out, err = golem("keys", *args)
    assert code == 2
    assert out == ""
    assert told in err
    assert err.count("\n") == 1


def test_two_keys_never_share_a_name(golem, file):
    golem("keys", "add", "alice", "--file", file)
    before = file.read_text()
    code, _, err = golem("keys", "add", "alice", "--file", file)
    assert (code, file.read_text()) == (2, before)
    assert "already" in err
