"""`--format` and `--out`: errors before anything runs, and the exported files; names of guards."""

import json

import pytest

from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.local import system
from golem_chain.shared.errors import BadSetting
from golem_chain.shared.records import Outcome, Segment, Transcript
from golem_chain.shared.settings import GUARDS, Settings

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (["run", "a.wav", "--out", "x"], "--format"),
        (["submit", "a.wav", "--format", "srt"], "--wait"),
        (["run", "a.wav", "--format", "srt", "--out", "a.wav"], "Cannot write a.wav"),
        (["run", "a.wav", "--format", "doc"], "doc"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_runs(golem, monkeypatch, typed, why):
    monkeypatch.setattr(system, "private_system", lambda *_: pytest.fail("a system was started"))
    code, out, err = golem(*typed)
    assert (code, out) == (2, "")
    assert why in err
    assert "Traceback" not in err


def test_waiting_writes_a_file_for_each_job_that_is_done(golem, worker, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"y")
    code, _, err = golem("submit", "a.wav", "bad.wav", "b.wav", "--wait", "--format", "json", "--out", "out")
    assert code == 1
    assert "Wrote 2 json files." in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "b.json"]


@pytest.mark.parametrize("wait", [[], ["--wait"]])
def test_results_writes_what_is_there(golem, redis, tmp_path, wait):
    _, out, _ = golem("submit", "a.wav")
    (job,) = out.split()
    segment = Segment(start_s=1, end_s=2, text="hello", avg_logprob=0, no_speech_prob=0, compression_ratio=1)
    transcript = Transcript(text="hello", segments=(segment,))
    Outcomes(Settings.read(), redis).write(Outcome(job=job, name="a.wav", state="done", transcript=transcript))
    code, _, err = golem("results", job, "--format", "srt", *wait)
    assert code == 0
    assert "Wrote a.srt." in err
    assert (tmp_path / "a.srt").read_text() == "1\n00:00:01,000 --> 00:00:02,000\nhello\n\n"


def test_word_times_travel_with_the_job(golem, redis):
    golem("submit", "a.wav", "--word-times")
    (key,) = redis.scan_iter("golem:job:*")
    assert json.loads(redis.hget(key, "job"))["word_times"] is True


@pytest.mark.parametrize(
    ("value", "guards"),
    [("all", GUARDS), ("none", ()), ("loop, vad", ("vad", "loop")), ("vad,vad", ("vad",))],
)
def test_guards_are_named_in_any_order(monkeypatch, value, guards):
    monkeypatch.setenv("GOLEM_GUARDS", value)
    assert Settings.read().guards == guards


@pytest.mark.parametrize("value", ["", "vat", "all,vad"])
def test_a_guard_that_is_not_known_is_refused_with_those_that_are(monkeypatch, value):
    monkeypatch.setenv("GOLEM_GUARDS", value)
    with pytest.raises(BadSetting, match=r"GOLEM_GUARDS=.*level,vad,no_speech"):
        Settings.read()
