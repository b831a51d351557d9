"""What is reported of ended jobs: lines, totals and the exit code."""

import io
import json
import time

import pytest
from rich.console import Console

from golem_chain.broker.cli.console import line
from golem_chain.broker.cli.follow import progress, report
from golem_chain.broker.cli.follow.report import Report, Totals
from golem_chain.broker.cli.follow.rows import Rows
from golem_chain.broker.jobs.groups import End
from golem_chain.shared.records import Failure, Intent, Outcome, Reply, StageRun, Transcript


def outcome(name="a.wav", state="done"):
    return Outcome(
        job=name, name=name, state=state,
        transcript=Transcript(text="turn on the lights", language="en"),
        intent=Intent(label="lights_on", score=0.934, method="cosine"),
        reply=Reply(text="The lights are on.", prompt="p", seed=1, new_tokens=6),
        stages={"scribe": StageRun(queued_s=0.5, load_s=1.0, compute_s=2.0, peak_bytes=151_000_000, worker="w")},
    )  # fmt: skip


def ended_early(state="failed"):
    return Outcome(job="bad", name="bad.wav", state=state, error=Failure(code=state, message="It did not end well."))


def totals(*outcomes):
    made = Totals()
    for one in outcomes:
        made.add(one)
    return made.told(12.34)


@pytest.fixture
def reporting(monkeypatch):
    """A function that makes a Report without a terminal."""
    monkeypatch.setattr(progress, "console", lambda stderr=True: Console(file=io.StringIO()))
    return lambda **given: Report(progress.Progress(1), Rows(), started=time.monotonic(), **given)


def test_totals_count_a_load_that_a_batch_shared_once():
    told = totals(outcome(), outcome("b.wav"), ended_early())
    assert told == "3 jobs (1 failed) · 12.3 s · 1 model load · peak memory 151 MB on cpu"


def test_totals_name_each_state():
    told = totals(*map(ended_early, ["failed", "expired", "expired", "cancelled"]))
    assert told == "4 jobs (1 cancelled, 2 expired, 1 failed) · 12.3 s · 0 model loads"


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
def test_one_job_that_is_not_done_is_exit_1(reporting, state):
    made = reporting(as_json=True)
    made.ended([outcome()])
    assert made.exit_code == 0
    made.ended([ended_early(state)])
    assert made.exit_code == 1


def test_the_lines_of_a_group_have_cursors_and_say_how_to_go_on(reporting, capsys):
    made = reporting(as_json=True, with_cursor=True)
    assert made.go_on("night") == "golem results --group night --wait"
    made.ends([End("5-0", "a.wav", "done", outcome()), End("5-1", "old", "done", None)])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["job"], first["transcript"]["text"], first["cursor"]) == ("a.wav", "turn on the lights", "5-0")
    assert second == {"job": "old", "state": "done", "cursor": "5-1"}
    assert made.go_on("night") == "golem results --group night --wait --since 5-1"
    assert made.gone == 1


def test_a_json_line_is_one_line_whatever_is_in_it(capsys):
    line(outcome("a\nb\u2028\u0085.wav").model_dump(mode="json"))
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 1
    assert json.loads(printed)["name"] == "a\nb\u2028\u0085.wav"


def test_a_json_line_has_the_keys_that_are_promised(capsys):
    line(outcome().model_dump(mode="json"))
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"job", "name", "state", "error", "transcript", "intent", "reply", "stages"}
    said = {"text", "language", "segments", "duration_s", "speech_s", "guards", "choice", "free_text"}
    assert set(told["transcript"]) == said
    assert set(told["intent"]) == {"label", "score", "scores", "method"}
    assert set(told["reply"]) == {"text", "prompt", "seed", "new_tokens"}
    assert sorted(told["stages"]["scribe"]) == [
        "batch_size", "compute_s", "device", "load_s", "peak_bytes", "queued_s", "worker",
    ]  # fmt: skip
    assert set(json.loads(Failure(code="a", message="b").model_dump_json())) == {"code", "message"}


def test_the_reason_names_the_file_once():
    named = ended_early().model_copy(update={"error": Failure(code="c", message="bad.wav is not audio.")})
    assert report.why(named) == "bad.wav is not audio."
    assert report.why(ended_early()) == "bad.wav: It did not end well."
