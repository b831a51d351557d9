"""Tables, lines and totals of Outcomes: wide, narrow and piped."""

import io

import pytest
from rich.console import Console

from golem_chain.broker.cli import tables


def test_the_status_shows_queues_and_what_each_box_holds():
    nothing = {"waiting": 0, "oldest_s": None}
    waits = {"interactive": {"waiting": 2, "oldest_s": 0.4}, "bulk": {"waiting": 12, "oldest_s": 4.2}}
    state = {
        "queues": {"scribe": {"lanes": waits}, "oracle": {"lanes": {"interactive": nothing, "bulk": nothing}}},
        "in_hand": 3,
        "boxes": {"card0@[box]": {"in_hand": 3, "resident": ["scribe"], "allocated": 151_000_000, "budget": 4 << 30}},
        "dead": 2,
    }
    shown = io.StringIO()
    out = Console(file=shown, width=100, markup=False, emoji=False, highlight=False)
    out.print(*tables.of_system(state))
    text = " ".join(shown.getvalue().split())
    lanes = ("queue interactive oldest bulk oldest", "scribe 2 0 s 12 4 s", "oracle 0 – 0 –")
    for said in (*lanes, "card0@[box] 3 scribe 151 MB of 4.3 GB", "dead letters: 2"):
        assert said in text


def test_the_status_shows_what_a_box_did_last_and_its_highest_memory():
    box = {
        "in_hand": 0, "resident": ["scribe"], "models": {"scribe": "openai/whisper-tiny@abc float32"}, "loads": 7,
        "allocated": 151_000_000, "budget": 4 << 30, "peak": 612_000_000, "last_event_age_s": 3.2,
        "last_event": {"kind": "load", "stage": "scribe", "reason": "wanted"},
    }  # fmt: skip
    state = {"queues": {}, "in_hand": 0, "boxes": {"box": box, "new": {"in_hand": 0}}, "dead": 0}
    shown = io.StringIO()
    out = Console(file=shown, width=140, markup=False, emoji=False, highlight=False)
    out.print(*tables.of_system(state))
    text = " ".join(shown.getvalue().split())
    said = "box 0 scribe (whisper-tiny, float32) 151 MB of 4.3 GB 612 MB 7 load scribe, 3 s ago"
    assert said in text
    assert "new 0 – – – – – –" in text


@pytest.mark.parametrize(
    "fields",
    [
        {"resident": "no list", "models": 3, "peak": "x", "last_event": "x", "last_event_age_s": "x"},
        {"resident": ["a"], "models": {"a": None}, "last_event": {}},
    ],
)
def test_a_box_that_tells_nonsense_is_shown_all_the_same(fields):
    state = {"queues": {}, "in_hand": 0, "boxes": {"box": {"in_hand": 0} | fields}, "dead": 0}
    shown = io.StringIO()
    out = Console(file=shown, width=140)
    out.print(*tables.of_system(state))
    assert "box" in shown.getvalue()


def test_the_status_tells_in_which_data_type_a_model_runs_and_where_boxes_differ():
    told = {"resident": ["scribe"], "models": {"scribe": "openai/tiny@1a2b float32 with bfloat16 products"}}
    assert tables.holds(told) == "scribe (tiny, float32 with bfloat16 products)"
    assert tables.holds({"resident": ["scribe"], "models": {"scribe": "tiny@1a2b"}}) == "scribe (tiny)"
    boxes = {
        "a": {"precisions": {"scribe": "float16", "oracle": "float16"}},
        "b": {"precisions": {"scribe": "float16", "oracle": "bfloat16"}},
        "c": {"precisions": "damaged"},
        "d": {},
    }
    assert tables.differences(boxes) == ["The oracle runs in float16 on a, bfloat16 on b"]
    assert tables.differences({}) == []
