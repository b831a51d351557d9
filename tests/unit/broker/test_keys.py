"""The keys of a system, and the ACL rules about them, have its prefix."""

import re
import subprocess
import sys

import pytest

from golem_chain.broker import acl
from golem_chain.broker.keys import Keys


def test_every_key_begins_with_the_prefix_and_no_two_are_equal():
    made = Keys("site.7")
    no_keys = ("prefix", "is_shared", "users", "vault_name", "lane")
    names = [name for name in vars(Keys) if not name.startswith("_") and name not in no_keys]
    found: dict[str, str] = {}
    for name in names:
        value = getattr(made, name)
        if isinstance(value, dict):
            found |= {f"{name}.{option}": key for option, key in value.items()}
        else:
            found[name] = value("x") if callable(value) else value
    found["lane"] = made.lane("x", "interactive")
    assert made.lane("x", "bulk") == made.queue("x")
    assert not {name for name, key in found.items() if not key.startswith("site.7:")}
    assert [key for name, key in found.items() if name.startswith("books.unacked")][:2] == [
        found.pop("unacked"),
        found.pop("unacked_index"),
    ]
    assert len(set(found.values())) == len(found)


def test_a_stored_label_set_of_another_system_is_not_ours():
    ours, theirs = Keys("a"), Keys("a.b")
    stored = ours.labels("00")
    assert ours.is_shared(stored)
    assert not theirs.is_shared(stored)
    assert (ours.users(stored), theirs.users(theirs.vocabulary("1"))) == ("a:labels-users:00", "a.b:vocabulary-users:1")


@pytest.mark.parametrize("user", acl.USERS)
def test_the_rules_of_a_user_name_only_keys_and_channels_of_the_system(user):
    named = {one[1] for one in re.finditer(r"(?:~|&)([^\s)]+)", acl.rules("site.7")[user])}
    assert not {name for name in named if not name.startswith("site.7:")}


@pytest.mark.parametrize("user", acl.USERS)
def test_the_rules_of_the_default_prefix_allow_at_most_to_look_at_the_old_names(user):
    found = re.findall(r"(%R)?~([^\s)]+)", acl.rules("golem")[user])
    strange = {(kind, name) for kind, name in found if not name.startswith("golem:")}
    old = {("%R", name) for name in ("scribe", "interpreter", "oracle", "unacked")}
    assert strange == (old if user == "worker" else set())


def test_the_acl_file_is_for_the_prefix_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for prefix, word in (("trial", "trial:queue:scribe"), ("no good", "golem: GOLEM_PREFIX='no good': use 1 to 32")):
        monkeypatch.setenv("GOLEM_PREFIX", prefix)
        done = subprocess.run([sys.executable, "-m", "golem_chain.broker.acl"], capture_output=True, text=True)
        assert word in done.stdout + done.stderr
        assert (done.returncode == 0) == (prefix == "trial")
