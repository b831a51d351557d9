"""Rows of Outcomes: wide, narrow and piped, with columns that stay where they are."""

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from golem_chain.broker.cli.follow import rows
from golem_chain.broker.cli.follow.rows import Rows, row_of
from golem_chain.shared.records import Failure, Intent, Outcome, Reply, StageRun, Transcript

WIDE = "今日は良い天気ですね" * 6


def outcome(name="a.wav", state="done", **given):
    fields: dict[str, Any] = {
        "transcript": Transcript(text="turn on the lights", language="en"),
        "intent": Intent(label="lights_on", score=0.934, method="cosine"),
        "reply": Reply(text="The lights are on.", prompt="p", seed=1, new_tokens=6),
        "stages": {"scribe": StageRun(queued_s=0.5, load_s=1.0, compute_s=2.0, peak_bytes=151_000_000, worker="w")},
    }
    return Outcome(job="j", name=name, state=state, **(fields | given))


def failed(name="bad.wav", message="bad.wav is not audio.", state="failed"):
    return outcome(
        name, state, error=Failure(code="bad-audio", message=message),
        transcript=None, intent=None, reply=None, stages={},
    )  # fmt: skip


def heard(name="a.wav", text="turn on the lights"):
    return outcome(name, transcript=Transcript(text=text), intent=None, reply=None)


def drawn(*parts, width, last="oracle", names=(), colour=False):
    """What is printed if these lists of Outcomes end one after the other."""
    shown, table = io.StringIO(), Rows(last, names)
    out = Console(file=shown, width=width, markup=False, emoji=False, highlight=False, force_terminal=colour)
    for part in parts:
        for one in table.of(part, width):
            out.print(one)
    return shown.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 81, 100, 120, 200])
def test_the_rows_fit_any_width_and_say_everything(width):
    text = drawn([outcome(), failed()], [outcome(WIDE + ".wav", transcript=Transcript(text=WIDE))], width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    for said in ("a.wav", "0.93", "3.0", "0.5", "bad.wav", "lights", "turn", "The", "on.", "not", "failed"):
        assert said in text
    assert text.count("天") >= WIDE.count("天")


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_header_comes_once_and_the_columns_stay(width):
    names = ["a.wav", "a-much-longer-name.wav"]
    text = drawn([outcome()], [outcome(names[1])], [failed()], width=width, names=names)
    lines = text.splitlines()
    assert [line for line in lines if "wait s" in line] == lines[:1]
    places = {line.index("turn on") for line in lines if "turn on" in line} | {lines[0].index("words")}
    assert len(places) == 1
    assert {line.rindex("3.0") for line in lines if "3.0" in line} == {lines[0].rindex("run s") + 2}


def test_a_column_is_there_only_if_a_job_may_have_it():
    assert "intent" not in drawn([heard()], width=120, last="scribe")
    assert "reply" not in drawn([outcome(reply=None)], width=120, last="interpreter")
    assert "reply" in drawn([heard()], width=120, last="oracle").splitlines()[0]


def test_a_column_that_a_later_job_needs_is_added_with_a_new_header():
    text = drawn([heard()], [heard(), outcome()], width=120, last=None)
    heads = [line for line in text.splitlines() if "words" in line]
    assert ["reply" in head for head in heads] == [False, True]
    assert "The lights are on." in text


@pytest.mark.parametrize("last", ["scribe", "interpreter", "oracle", None])
@pytest.mark.parametrize("width", [60, 120])
def test_a_job_that_is_not_done_says_its_state_and_the_reason(last, width):
    text = drawn([failed(message="Redis was away.", state="expired")], width=width, last=last)
    assert "Redis was away." in text
    if last != "interpreter" or width < 80:
        assert "expired" in text


@pytest.mark.parametrize(("state", "colour"), [("failed", 31), ("cancelled", 33), ("expired", 35)])
def test_each_state_has_a_colour(state, colour):
    assert f"\x1b[{colour}m{state}" in drawn([failed(state=state)], width=120, colour=True)


def test_a_name_is_shown_and_never_acts():
    names = ["[red]x[/red].wav", "a\nb\x1b[31m.wav", "\u202egpj.wav", ":smile:.wav"]
    text = drawn([outcome(name) for name in names], width=200)
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
    text = drawn([nasty], width=width)
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_name_that_is_too_long_keeps_its_beginning_and_its_end():
    assert rows.shortened("recordings/monday/kitchen/lights-on.flac", 20) == "record…ights-on.flac"
    for cells in range(1, 40):
        assert cell_len(rows.shortened(WIDE + ".wav", cells)) <= cells


def test_silence_is_named_and_has_no_reply():
    quiet = outcome(
        transcript=Transcript(text="", guards=("vad",)), intent=Intent(label="noise", score=1.0, method="silence"),
        reply=None,
    )  # fmt: skip
    assert row_of(quiet)[1:4] == ("(silence)", "noise 1.00", "–")


def test_what_a_job_waited_is_apart_from_what_it_took():
    runs = {
        "scribe": StageRun(queued_s=7.0, load_s=1.0, compute_s=2.0),
        "oracle": StageRun(queued_s=0.5, compute_s=0.25),
    }
    row = row_of(outcome(stages=runs))
    assert (row.wait, row.run) == ("7.5", "3.2")
    assert row_of(failed())[4:] == ("", "")
