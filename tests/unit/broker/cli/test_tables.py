"""Tables, lines and totals of Outcomes: wide, narrow and piped."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from golem_chain.broker.cli import tables
from golem_chain.broker.cli.console import line
from golem_chain.shared.records import Failure, Intent, Outcome, Reply, StageRun, Transcript


def outcome(name="a.wav", state="done", **given):
    fields: dict[str, Any] = {
        "transcript": Transcript(text="turn on the lights", language="en"),
        "intent": Intent(label="lights_on", score=0.934, method="cosine"),
        "reply": Reply(text="The lights are on.", prompt="p", seed=1, new_tokens=6),
        "stages": {"scribe": StageRun(queued_s=0.5, load_s=1.0, compute_s=2.0, peak_bytes=151_000_000, worker="w")},
    }
    return Outcome(job="j", name=name, state=state, **(fields | given))


def failed(name="bad.wav", message="bad.wav is not audio."):
    return outcome(
        name, "failed", error=Failure(code="bad-audio", message=message),
        transcript=None, intent=None, reply=None, stages={},
    )  # fmt: skip


def drawn(outcomes, width, colour=False):
    shown = io.StringIO()
    out = Console(file=shown, width=width, markup=False, emoji=False, highlight=False, force_terminal=colour)
    out.print(tables.of_jobs(outcomes, width))
    return shown.getvalue()


@pytest.mark.parametrize("width", [40, 60, 79, 80, 120, 200])
def test_the_table_fits_any_width_and_says_everything(width):
    text = drawn([outcome(), failed()], width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    for said in ("a.wav", "0.93", "3.5", "bad.wav"):
        assert said in flat
    for word in ["lights", "turn", "The", "not", "failed"]:
        assert word in flat


def test_a_name_is_shown_and_never_acts():
    names = ["[red]x[/red].wav", "a\nb\x1b[31m.wav", "\u202egpj.wav", ":smile:.wav"]
    text = drawn([outcome(name) for name in names], 200)
    assert "[red]x[/red].wav" in text
    assert r"a\nb\x1b[31m.wav" in text
    assert r"\u202egpj.wav" in text
    assert ":smile:.wav" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [60, 120])
def test_words_and_replies_cannot_act_either(width):
    nasty = outcome(
        transcript=Transcript(text="\x1b]0;title\x07"), reply=Reply(text="[/]\x1b[2J", prompt="", seed=0, new_tokens=1)
    )
    text = drawn([nasty], width)
    assert "\x1b" not in text
    assert "\x07" not in text


def test_silence_is_named_and_has_no_reply():
    quiet = outcome(
        transcript=Transcript(text="", guards=("vad",)), intent=Intent(label="noise", score=1.0, method="silence"),
        reply=None,
    )  # fmt: skip
    assert tables.cells(quiet)[1:4] == ("(silence)", "noise 1.00", "–")


def test_seconds_run_from_submit_to_end():
    assert tables.cells(outcome())[4] == "3.5"
    assert tables.cells(failed())[4] == ""


def test_totals_count_a_load_that_a_batch_shared_once():
    told = tables.totals([outcome(), outcome("b.wav"), failed()], 12.34)
    assert told == "3 jobs (1 not done) · 12.3 s · 1 model load · peak memory 151 MB on cpu"


def test_totals_of_one_job_that_never_ran():
    assert tables.totals([failed()], 0.2) == "1 job (1 not done) · 0.2 s · 0 model loads"


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
    said = "box 0 scribe (whisper-tiny) 151 MB of 4.3 GB 612 MB 7 load scribe, 3 s ago"
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
