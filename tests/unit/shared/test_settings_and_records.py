"""Settings, records and errors: bad settings are named, records survive serialisation, errors share one base class."""

import inspect
import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.shared import errors
from golem_chain.shared.errors import BadSetting, GolemError
from golem_chain.shared.records import (
    CHAIN,
    AudioRef,
    Handover,
    Intent,
    Job,
    Label,
    LabelSet,
    Outcome,
    StageName,
    StageRun,
    Transcript,
)
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes, parse_bytes
from golem_chain.shared.text import NAME


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """Default settings, without environment variables."""
    import os

    for key in list(os.environ):
        if key.startswith("GOLEM_"):
            monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "count"),
    [("4GiB", 4 << 30), ("1.5g", 3 << 29), ("500 MB", 500_000_000), ("7", 7), (7, 7), ("2k", 2048), ("0", 0)],
)
def test_sizes_are_read_as_people_write_them(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "-1", "4 elephants", "1e9", "4GiB8", -5])
def test_nonsense_is_not_a_size(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


@given(st.integers(0, 10**15))
def test_a_size_is_shown_in_at_most_four_digits(count):
    number, unit = format_bytes(count).split()
    assert unit in ("B", "kB", "MB", "GB", "TB")
    assert len(number.replace(".", "")) <= 4 or count >= 10**13


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("MEMORY_BUDGET", "0", "cannot hold any model"),
        ("MEMORY_BUDGET", "lots", "is not a size"),
        ("MEMORY_BUDGET", "150%", "is not a share"),
        ("MEMORY_BUDGET", "x%", "is not a percentage"),
        ("RESIDENT", "7", "'1', '0' or 'auto'"),
        ("BATCH", "scribe=none", "integer"),
        ("LEASE_S", "1", "greater than or equal to 5"),
        ("VAULT_LIMIT", "huge", "is not a size"),
        ("PREFIX", "a:b", "use 1 to 32 letters, digits"),
        ("PREFIX", "", "use 1 to 32 letters, digits"),
        ("PREFIX", "x" * 33, "use 1 to 32 letters, digits"),
        ("PREFIX", "golem\n", "use 1 to 32 letters, digits"),
        ("SERVE_PROXIES", "proxy", "use addresses or networks"),
        ("SERVE_PROXIES", "10.0.0.1/8", "use addresses or networks"),
        ("SERVE_PROXIES", "*", "use addresses or networks"),
        ("SERVE_ORIGINS", "*", "use origins"),
        ("SERVE_ORIGINS", "null", "use origins"),
        ("SERVE_ORIGINS", "https://app.example/path", "use origins"),
        ("SERVE_HOSTS", "https://golem.example", "use host names"),
    ],
)
def test_a_bad_setting_is_named_with_its_key_and_value(monkeypatch, key, value, why):
    monkeypatch.setenv(f"GOLEM_{key}", value)
    with pytest.raises(BadSetting) as caught:
        Settings.read()
    assert f"GOLEM_{key}" in caught.value.message
    assert why in caught.value.message
    assert "\n" not in caught.value.message


def test_a_door_knows_its_proxies_and_the_origins_that_may_use_it(monkeypatch):
    monkeypatch.setenv("GOLEM_SERVE_PROXIES", "10.0.0.7, 172.16.0.0/12,::1")
    monkeypatch.setenv("GOLEM_SERVE_ORIGINS", "https://App.example/,app://obsidian.md,http://[::1]:3000")
    settings = Settings.read()
    assert settings.serve_proxies == ("10.0.0.7", "172.16.0.0/12", "::1")
    assert settings.serve_origins == ("https://app.example", "app://obsidian.md", "http://[::1]:3000")


def test_settings_come_from_the_environment_before_the_file(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("GOLEM_LEASE_S=40\nGOLEM_STOP_S=5\nREDIS_PASSWORD=x\n")
    monkeypatch.setenv("GOLEM_STOP_S", "6")
    settings = Settings.read()
    assert (settings.lease_s, settings.stop_s) == (40, 6)


def test_a_budget_is_bytes_or_a_share(monkeypatch):
    monkeypatch.setenv("GOLEM_MEMORY_BUDGET", "4GiB")
    assert Settings.read().memory_budget == 4 << 30
    monkeypatch.setenv("GOLEM_MEMORY_BUDGET", "80%")
    assert Settings.read().memory_budget == 0.8


def test_a_batch_is_one_number_or_one_for_each_stage(monkeypatch):
    monkeypatch.setenv("GOLEM_BATCH", "4")
    assert Settings.read().batch_of("oracle") == 4
    monkeypatch.setenv("GOLEM_BATCH", "scribe=2, oracle=16")
    settings = Settings.read()
    assert [settings.batch_of(s) for s in ("scribe", "interpreter", "oracle")] == [2, 8, 16]


def test_a_handover_survives_the_wire_and_says_nothing_twice():
    job = Job(id="j1", name="a b.wav", audio=AudioRef(key="vault:j1", size_bytes=5), submitted_at=1.5)
    handover = Handover(
        job=job,
        transcript=Transcript(text="hi", guards=("vad",)),
        intent=Intent(label="x", score=0.5, scores={"x": 0.5}, method="cosine"),
        stages={"scribe": StageRun(load_s=0.5)},
    )
    text = json.dumps(handover.wire())
    assert Handover.model_validate(json.loads(text)) == handover
    assert "null" not in text


@pytest.mark.parametrize("stage", CHAIN)
def test_each_stage_of_the_chain_has_its_field_in_handover_and_outcome(stage):
    field, answer = CHAIN[stage]
    for record in (Handover, Outcome):
        assert record.model_fields[field].annotation == answer | None


def test_a_record_of_a_newer_version_can_be_read():
    assert Label.model_validate({"name": "a", "colour": "red"}) == Label(name="a")


AUDIO = AudioRef(key="vault:j", size_bytes=1)


@pytest.mark.parametrize(
    ("given", "stages"),
    [
        ({"audio": AUDIO}, ("scribe", "interpreter", "oracle")),
        ({"audio": AUDIO, "stop": "oracle"}, ("scribe", "interpreter", "oracle")),
        ({"audio": AUDIO, "stop": "scribe"}, ("scribe",)),
        ({"text": "hi"}, ("interpreter", "oracle")),
        ({"text": "hi", "stop": "interpreter"}, ("interpreter",)),
        ({"text": "hi", "intent": "x"}, ("oracle",)),
    ],
)
def test_a_job_runs_the_stages_from_what_it_is_given_to_where_it_stops(given, stages):
    assert Job(id="j", name="n", **given).wanted == stages


def test_what_a_job_is_given_stands_for_the_answers_of_the_earlier_stages():
    job = Job(id="j", name="n", text="salut", intent="greet", language="fr")
    assert job.given == {
        "transcript": Transcript(text="salut", language="fr"),
        "intent": Intent(label="greet", score=1.0, method="given"),
    }
    assert Job(id="j", name="n", audio=AUDIO).given == {}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "either audio or a text"),
        ({"audio": AUDIO, "text": "hi"}, "either audio or a text"),
        ({"audio": AUDIO, "intent": "x"}, "give the text too"),
        ({"text": " \n"}, "The text is empty"),
        ({"text": "x" * 20_001}, "The text has 20,001 characters, the limit is 20,000"),
        ({"text": "hi", "stop": "scribe"}, "begins at the interpreter and cannot stop at the scribe"),
        ({"text": "hi", "intent": "x", "stop": "interpreter"}, "begins at the oracle"),
        ({"text": "hi", "intent": "noise"}, "nothing was said"),
        ({"audio": AUDIO, "stop": "herald"}, "stop"),
    ],
)
def test_a_job_that_cannot_be_is_refused_with_the_reason(given, why):
    with pytest.raises(ValueError, match=why):
        Job(id="j", name="n", **given)


def test_every_stage_of_the_chain_can_be_the_last():
    assert get_args(StageName) == tuple(CHAIN)


@pytest.mark.parametrize("bad", ["", "a b", "../x", "x" * 65, "x\n"])
def test_a_job_id_cannot_be_a_path_or_a_sentence(bad):
    with pytest.raises(ValueError, match="id"):
        Job(id=bad, name="n", audio=AudioRef(key="vault:x", size_bytes=1))


def test_a_label_set_is_never_empty():
    with pytest.raises(ValueError, match="labels"):
        LabelSet(labels=())


def test_an_outcome_has_the_keys_that_users_read():
    outcome = Outcome(job="j", name="n", state="done")
    assert list(outcome.model_dump()) == [
        "job", "name", "state", "error", "transcript", "intent", "reply", "stages",
    ]  # fmt: skip


def test_every_error_is_one_family_with_a_code_of_its_own():
    family = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception)]
    assert len({getattr(c, "code", None) for c in family}) == len(family) > 10
    assert all(issubclass(c, GolemError) and c.__doc__ for c in family)
    assert errors.OutOfMemory("x").retryable
    assert not errors.BadAudio("x").retryable
    assert errors.BadAudio("one sentence.").message == "one sentence."


def test_ids_and_groups_have_the_form_that_the_command_line_checks():
    for field in ("id", "group"):
        schema = Job.model_json_schema()["properties"][field]
        patterns = {one.get("pattern") for one in (schema, *schema.get("anyOf", ()))} - {None}
        assert patterns == {f"^{NAME}$"}
