"""The timeline: events become lanes, spans and marks, and are plotted."""

import pytest

from golem_chain.broker.cli.operations.timeline_plot import draw
from golem_chain.broker.monitoring.timeline import lanes, parse_last, window
from golem_chain.shared.errors import BadRequest


def batch(at, stage, jobs, box="a", seconds=2.0):
    return {
        "kind": "batch", "box": box, "stage": stage, "at": at, "seconds": seconds, "size": len(jobs), "jobs": jobs,
        "allocated_before": 100, "allocated": 200, "peak": 900, "budget": 1000,
    }  # fmt: skip


def load(at, stage, box="a", kind="load"):
    return {
        "kind": kind, "box": box, "stage": stage, "at": at, "seconds": 0.5, "reason": "wanted",
        "allocated_before": 50, "allocated": 100,
    }  # fmt: skip


EVENTS = [load(10, "scribe"), batch(13, "scribe", ["j1", "j2"]), load(15.8, "oracle"), batch(17, "oracle", ["j1"])]


def test_a_timeline_of_a_job_spans_all_its_batches():
    assert window(EVENTS, ["j1"]) == (11, 17)
    assert window(EVENTS, ["j2"]) == (11, 13)


def test_a_job_that_nobody_worked_on_is_named():
    with pytest.raises(BadRequest, match="j9"):
        window(EVENTS, ["j9"])


def test_each_box_has_its_lane_with_its_spans_marks_and_memory():
    first, second = lanes([*EVENTS, load(12, "oracle", box="b")], 0, 100)
    assert (first.box, second.box) == ("a", "b")
    assert [(s.stage, s.start, s.end, s.size) for s in first.spans] == [("scribe", 11, 13, 2), ("oracle", 15, 17, 1)]
    assert [(m.kind, m.stage, m.at) for m in first.marks] == [("load", "scribe", 10), ("load", "oracle", 15.8)]
    assert first.memory[0] == (9.5, 50)
    assert [at for at, _ in first.memory] == sorted(at for at, _ in first.memory)
    assert first.budget == 1000
    assert not second.spans


def test_what_lies_outside_the_window_is_left_out():
    (lane,) = lanes([*EVENTS, load(30, "scribe")], 13.2, 20)
    assert [m.stage for m in lane.marks] == ["oracle"]
    assert [s.stage for s in lane.spans] == ["oracle"]


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("90s", 90), ("2h", 7200), ("5", 5), ("1.5m", 90)])
def test_a_length_of_time_is_read(text, seconds):
    assert parse_last(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5m", "0", "ten minutes"])
def test_nonsense_is_not_a_length_of_time(text):
    with pytest.raises(BadRequest, match="--last"):
        parse_last(text)


def test_a_picture_is_drawn_and_a_bad_target_is_one_sentence(tmp_path):
    pytest.importorskip("matplotlib")
    found = lanes([*EVENTS, load(15, "oracle", kind="oom")], 0, 100)
    draw(found, 9, 18, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 5000
    with pytest.raises(BadRequest, match="Cannot write"):
        draw(found, 9, 18, tmp_path / "no" / "out.png")
    with pytest.raises(BadRequest, match="Cannot write"):
        draw(found, 9, 18, tmp_path / "out.sound")
