"""`golem models pull|list|verify` from the command line."""

import json

import pytest
from typer.testing import CliRunner

from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store import catalog, commands, find
from golem_chain.workers.store.catalog import NAMED
from golem_chain.workers.store.commands import app
from golem_chain.workers.store.making import make_variant
from golem_chain.workers.store.packed import modules


@pytest.fixture
def golem(three, monkeypatch, tmp_path):
    """Runs `golem models …` on the settings of `three`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOLEM_STORE", str(three.store))
    monkeypatch.setenv("GOLEM_DEVICE", "cpu")
    for stage in catalog.STAGES:
        monkeypatch.setenv(f"GOLEM_{stage.upper()}_MODEL", three.model_of(stage))
    return lambda *words: CliRunner().invoke(app, words)


def test_pull_list_and_verify_from_the_command_line(golem, three):
    assert golem("verify").exit_code == 1
    rows = [json.loads(line) for line in golem("list", "--json").stdout.splitlines()]
    assert [row["state"] for row in rows[:3]] == ["missing"] * 3
    assert golem("pull", "--no-proof").exit_code == 0
    rows = [json.loads(line) for line in golem("list", "--json").stdout.splitlines()]
    assert [(row["stage"], row["state"], row["dtype"]) for row in rows[:3]] == [
        (stage, "in use", "float32") for stage in catalog.STAGES
    ]
    assert "whisper-base" in {row["id"] for row in rows if row["state"] == "available"}
    listed = golem("list").stdout
    assert "in use" in listed
    wheels = NAMED["whisper-base"].source
    assert any(wheels in line for line in listed.splitlines()), "a pipe is no reason to fold a line"
    assert golem("verify").exit_code == 0
    path = find(three, "oracle").weight_files[0]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = golem("verify", "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["sound"] for line in result.stdout.splitlines()].count(False) == 1


def test_the_list_has_the_variants_of_a_model_with_their_sizes(golem, three, monkeypatch):
    assert golem("pull", "--no-proof").exit_code == 0
    assert "also as" not in golem("list").stdout
    monkeypatch.setattr(modules, "LEAST_WEIGHTS", 1)
    paths = [make_variant(find(three, "oracle"), Precision("bfloat16", bits)) for bits in (4, None)]
    rows = [json.loads(line) for line in golem("list", "--json").stdout.splitlines()]
    held = {row["stage"]: row["variants"] for row in rows[:3]}
    sizes = [path.stat().st_size for path in paths if path]
    assert held == {"scribe": {}, "interpreter": {}, "oracle": {"4bit": sizes[0], "bfloat16": sizes[1]}}
    assert f"also as 4 bit ({format_bytes(sizes[0])}), bfloat16 ({format_bytes(sizes[1])})" in golem("list").stdout


def test_wrong_usage_is_told_apart_from_failure(golem):
    assert golem("pull", "--profile", "best").exit_code == 2
    assert golem("pull", "--stage", "painter").exit_code == 2


def test_a_pull_ends_with_what_the_layer_above_has_set_unless_it_is_told_not_to(golem, three, monkeypatch):
    ended = []
    monkeypatch.setattr(commands, "after_pull", lambda settings, stages: ended.append((settings.store, stages)))
    assert golem("pull", "--stage", "oracle").exit_code == 0
    assert golem("pull", "--stage", "oracle", "--no-proof").exit_code == 0
    assert ended == [(three.store, ("oracle",))]
