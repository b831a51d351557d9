"""What a worker wrote is shown as far as it has the right types, and an event names the caller's own jobs only."""

import json

import pytest

from golem_chain.broker.doors.system import views
from golem_chain.broker.doors.system.feed import Entry, parse, parse_id
from golem_chain.broker.doors.system.metrics import families
from golem_chain.broker.monitoring.counts import Counts
from golem_chain.broker.queues import LANES, STAGES

ODD = [
    None,
    "x",
    -1,
    float("nan"),
    float("inf"),
    10**400,
    True,
    [],
    [1, None, "\u202e"],
    {},
    {"a": None},
    {"\x00": "\n"},
]
FIELDS = ["resident", "models", "device", "allocated", "budget", "loads", "loads_of", "ooms_of", "switches", "queues"]


def overview(**box):
    lane = {"waiting": 0, "oldest_s": None}
    queues = {stage: lane | {"lanes": dict.fromkeys(LANES, lane)} for stage in STAGES}
    return {"now_at": 1.0, "queues": queues, "in_hand": 0, "boxes": {"box\n\u202e": {"in_hand": 0, **box}}, "dead": 3}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_field_of_a_wrong_type_is_absent_and_breaks_nothing(field, value):
    seen = overview(**{field: value})
    shown = views.system(seen, operator=True)
    views.SystemView.model_validate(shown)
    text = json.dumps(shown, allow_nan=False)
    assert "\u202e" not in text.encode().decode("unicode_escape")
    for family in families.of_system(seen, Counts(), 1):
        assert all(isinstance(sample.value, int | float) for sample in family.samples)


def test_only_an_operator_sees_how_many_dead_letters_there_are():
    assert views.system(overview(), operator=True)["dead"] == 3
    assert views.system(overview(), operator=False)["dead"] is None


def test_a_batch_names_the_jobs_of_the_caller_and_how_many_there_were():
    told = {"kind": "batch", "size": 3, "jobs": ["mine", "yours", 7], "queued_s": [1.0, 3.0, None], "stage": "scribe"}
    assert views.event(told, {"mine"}) == {
        "kind": "batch", "size": 3, "jobs": ["mine"], "stage": "scribe", "queued_mean_s": 2.0, "queued_max_s": 3.0
    }  # fmt: skip
    assert views.event(told, set())["jobs"] == []
    load = {"kind": "load", "stage": "scribe"}
    assert views.event(load, set()) == load


@pytest.mark.parametrize(
    "fields", [{}, {"event": ""}, {"event": "[]"}, {"event": "{}"}, {"event": '{"kind": []}'}, None, 7]
)
def test_an_entry_that_no_release_has_written_is_none(fields):
    assert parse("1-1", fields) is None


def test_an_entry_is_read_in_both_forms_of_the_protocol():
    told = '{"kind": "load"}'
    assert parse("1-1", {"event": told}) == parse("1-1", ["event", told]) == Entry("1-1", {"kind": "load"})


@pytest.mark.parametrize("text", ["12", "", None, "1-2-3", "-1-2", "٣-1", "9" * 99 + "-1", " 1-1", "1-1\n"])
def test_what_is_no_id_of_a_stream_is_none(text):
    assert parse_id(text) is None
    assert parse_id("12-3") == (12, 3)


def test_what_is_not_known_is_no_sample_rather_than_a_zero():
    seen = {
        family.name: family.samples
        for family in families.of_system(overview(), Counts(None, None, None, None, None, None), 1)
    }
    for name in (
        "golem_jobs_ended",
        "golem_jobs_submitted",
        "golem_webhooks_outbox",
        "golem_webhooks_dead",
        "golem_vault_bytes",
    ):
        assert seen[name] == []
    assert seen["golem_box_budget_bytes"] == []
    assert seen["golem_vault_limit_bytes"][0].value == 1
