"""transcribe, ask, reply and --stop: what they hand in, where it runs, and what they print."""

import json
import sys
from pathlib import Path

import pytest

from golem_chain.broker.cli.commands import orders
from golem_chain.broker.keys import Keys
from golem_chain.broker.local import system
from tests.support.paths import python_path

keys = Keys()
WORKER = """
import pathlib, sys
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import tasks
from golem_chain.workers.parent import worker
from tests.support.chain_worker import build
command, _, name, _, queues = sys.argv[1:]
pathlib.Path("served").write_text(queues)
settings = Settings.read()
sys.exit(worker.start(settings, queues.split(","), name, register=lambda app: tasks.register(app, settings, build)))
"""

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.fixture
def own(monkeypatch):
    """A system of our own has fake engines; returns the stages whose models were wanted, one entry for each start."""
    wanted: list[tuple[str, ...]] = []
    monkeypatch.setenv("PYTHONPATH", python_path())
    monkeypatch.setattr(system, "WORKERS", (sys.executable, "-c", WORKER))
    monkeypatch.setattr(system, "need_worker", lambda: None)
    monkeypatch.setattr(system, "pull_missing", wanted.append)
    return wanted


def jobs(redis):
    """Return the submitted records."""
    return [json.loads(redis.hget(key, "job")) for key in redis.scan_iter("golem:job:*")]


def test_transcribe_writes_subtitles_and_needs_no_other_model(golem, own):
    Path("a.wav").write_bytes(b"hello there")
    code, out, _ = golem("transcribe", "a.wav", "-f", "srt", "-o", "out")
    assert (code, own, Path("served").read_text()) == (0, [("scribe",)], "scribe")
    assert Path("out/a.srt").read_text() == "1\n00:00:00,000 --> 00:00:01,000\nhello there\n\n"
    assert "hello there" in out
    assert "intent" not in out
    assert "reply" not in out


def test_ask_prints_label_and_score_and_needs_no_other_model(golem, own):
    code, out, _ = golem("ask", "turn on the light", "-", "--labels", "light,music", stdin=b"music please\n\n")
    assert (code, own, Path("served").read_text()) == (0, [("interpreter",)], "interpreter")
    assert "light 0.90" in out
    assert "stdin:1" in out
    assert "music 0.90" in out
    assert "reply" not in out


def test_ask_can_go_on_to_the_reply(golem, own):
    code, out, _ = golem("ask", "light", "--labels", "light,music", "--stop", "oracle", "--seed", "3", "--json")
    outcome = json.loads(out)
    assert (code, own) == (0, [("interpreter", "oracle")])
    assert (outcome["reply"]["text"], outcome["reply"]["seed"]) == ("light: light", 3)
    assert list(outcome["stages"]) == ["interpreter", "oracle"]


def test_reply_answers_a_text_whose_intent_is_given(golem, own):
    code, out, _ = golem("reply", "hello", "--intent", "music", "--labels", "light,music", "--json")
    outcome = json.loads(out)
    assert (code, own) == (0, [("oracle",)])
    assert (outcome["reply"]["text"], list(outcome["stages"])) == ("music: hello", ["oracle"])


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        (["transcribe", "a.wav"], {"name": "a.wav", "stop": "scribe"}),
        (["ask", "hello"], {"name": "text", "text": "hello", "stop": "interpreter"}),
        (["ask", "@lines.txt"], {"name": "lines.txt:2", "text": "hi", "stop": "interpreter"}),
        (["reply", "hello", "--intent", "greet"], {"name": "text", "text": "hello", "intent": "greet"}),
        (["submit", "a.wav", "--stop", "scribe", "--wait"], {"name": "a.wav", "stop": "scribe"}),
        (["transcribe", "a.wav", "--prompt", "To Shabata."], {"initial_prompt": "To Shabata.", "stop": "scribe"}),
        (["submit", "a.wav", "--prompt", "Zoë", "--wait"], {"initial_prompt": "Zoë", "scribe_temperature": None}),
        (["transcribe", "a.wav", "--hotwords", " Ecobee,ecobee, Zoë  B"], {"hotwords": ["Ecobee", "Zoë B"]}),
        (["submit", "a.wav", "--hotwords", "@lines.txt", "--wait"], {"hotwords": ["hi"]}),
        (["transcribe", "a.wav", "--scribe-temperature", "0.4"], {"initial_prompt": None, "scribe_temperature": 0.4}),
    ],
)
def test_with_a_server_in_the_settings_the_running_system_does_it(golem, redis, worker, monkeypatch, typed, asked):
    monkeypatch.setattr(system, "private_system", lambda *_: pytest.fail("a system was started"))
    Path("lines.txt").write_text("\nhi\n")
    assert golem(*typed)[0] == 0
    [job] = jobs(redis)
    assert {field: job.get(field) for field in asked} == asked
    assert ("audio" in job) == ("text" not in job)


def test_run_stops_where_it_is_told(golem, own):
    Path("a.wav").write_bytes(b"hello there")
    code, out, _ = golem("run", "a.wav", "--stop", "interpreter", "--json")
    assert (code, own) == (0, [("scribe", "interpreter")])
    assert list(json.loads(out)["stages"]) == ["scribe", "interpreter"]


@pytest.mark.parametrize(("files", "lane"), [(("a.wav",), "interactive"), (("a.wav", "b.wav"), "bulk")])
def test_a_run_of_a_single_file_is_interactive(golem, monkeypatch, files, lane):
    asked = []
    monkeypatch.setattr(orders, "alone", lambda order, _: asked.append(order.options))
    golem("run", *files, "--expires", "5m")
    assert [(one.lane, one.expires_s) for one in asked] == [(lane, 300)]


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (["ask"], "TEXT"),
        (["ask", ""], "The text is empty"),
        (["ask", "-"], "stdin has no text"),
        (["ask", "-", "-"], "twice"),
        (["ask", "@gone.txt"], "gone.txt cannot be read (No such file or directory)"),
        (["ask", "@"], "cannot be read"),
        (["ask", "@latin.txt"], "latin.txt is not UTF-8"),
        (["ask", "hello", "@long.txt"], "long.txt:2: it has 20,001 characters, the limit is 20,000"),
        (["ask", "\udcff"], "not valid Unicode"),
        (["ask", "hello", "--labels", "@nowhere"], "nowhere"),
        (["ask", "hello", "--stop", "scribe"], "scribe"),
        (["ask", "hello", "--seed", "1"], "Parameters of the reply have no effect"),
        (["reply", "hello"], "--intent"),
        (["reply", "hello", "--intent", "c", "--labels", "a,b"], "none of the labels: choose one of a, b, unknown"),
        (["reply", "hello", "--intent", "noise"], "nothing was said"),
        (["transcribe", "gone.wav"], "No such file: gone.wav"),
        (["transcribe", "a.wav", "-o", "out"], "--format"),
        (["submit", "a.wav", "--stop", "scribe", "--labels", "a,b"], "Labels have no effect"),
        (["submit", "a.wav", "--stop", "herald"], "herald"),
        (["submit", "a.wav", "--prompt", "x" * 1001], "The prompt has 1,001 characters, the limit is 1,000"),
        (["submit", "a.wav", "--prompt", "\udcff"], "The text of --prompt is not valid UTF-8"),
        (["submit", "a.wav", "--hotwords", ""], "The hotwords are empty"),
        (["submit", "a.wav", "--hotwords", "@gone.txt"], "The hotwords file gone.txt does not exist"),
        (["submit", "a.wav", "--hotwords", "@latin.txt"], "hotwords file latin.txt cannot be read: it is not UTF-8"),
        (["transcribe", "a.wav", "--hotwords", "a," + "x" * 101], "Hotword 2 has 101 characters; the limit is 100"),
        (["submit", "a.wav", "--hotwords", ",".join(f"a{n}" for n in range(101))], "There are 101 hotwords, the limit"),
        (["submit", "a.wav", "--hotwords", "Ecobee,..."], "Hotword 2"),
        (["submit", "a.wav", "--hotwords", "\udcff"], "unprintable"),
        (["submit", "a.wav", "--hotwords", "a", "--vocabulary", "b"], "hotwords cannot be combined with a vocabulary"),
        (["transcribe", "a.wav", "--language", "\udcff"], "The text of --language is not valid UTF-8"),
        (["submit", "a.wav", "--scribe-temperature", "1.1"], "less than or equal to 1"),
        (["submit", "a.wav", "--scribe-temperature", "nan"], "--scribe-temperature"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_nothing_is_submitted(golem, redis, typed, why):
    Path("latin.txt").write_bytes(b"caf\xe9\n")
    Path("long.txt").write_text("fine\n" + "x" * 20_001)
    code, out, err = golem(*typed)
    assert (code, out) == (2, "")
    assert why in " ".join(err.split())
    assert "Traceback" not in err
    assert jobs(redis) == []
