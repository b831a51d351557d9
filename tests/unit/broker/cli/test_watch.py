"""golem watch: what it asks for, where it runs, what it says and refuses."""

import json
import sys
from pathlib import Path

import pytest

from golem_chain.broker.cli.commands import watch as command
from golem_chain.broker.local import system
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.watching import changes
from golem_chain.broker.watching.results import Results
from tests.support.paths import python_path

#: A worker of our own with fake engines; writes down what it serves and may read.
WORKER = """
import os, pathlib, sys
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import tasks
from golem_chain.workers.parent import worker
from tests.support.chain_worker import build
command, _, name, _, queues = sys.argv[1:]
pathlib.Path("served").write_text(queues + " " + os.environ["GOLEM_AUDIO_ROOT"])
settings = Settings.read()
sys.exit(worker.start(settings, queues.split(","), name, register=lambda app: tasks.register(app, settings, build)))
"""
ONCE = ("--once", "--settle", "0.1")

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.fixture
def own(monkeypatch):
    """A system of our own has fake engines; returns the stages whose models were wanted."""
    wanted: list[tuple[str, ...]] = []
    monkeypatch.setenv("PYTHONPATH", python_path())
    monkeypatch.setattr(system, "WORKERS", (sys.executable, "-c", WORKER))
    monkeypatch.setattr(system, "need_worker", lambda: None)
    monkeypatch.setattr(system, "pull_missing", wanted.append)
    return wanted


@pytest.fixture(autouse=True)
def folder(surroundings):
    """A folder with two recordings."""
    made = Path("in")
    made.mkdir()
    for name in ("one.wav", "two.wav"):
        (made / name).write_text(f"light {name}")
    return made


def below(folder):
    return sorted(path.name for path in Path(folder).iterdir() if not path.name.startswith("."))


def test_a_system_of_our_own_reads_the_folder_and_only_the_scribe_runs(golem, own, folder):
    code, out, err = golem("watch", "in", *ONCE)
    assert (code, own) == (0, [("scribe",)])
    assert Path("served").read_text() == f"scribe {folder.resolve()}"
    assert sorted(out.splitlines()) == ["in/one.txt", "in/two.txt"]
    assert (folder / "one.txt").read_text() == "light one.wav\n"
    assert err.splitlines() == ["golem: in: 2 files to process.", "golem: 2 files done."]
    Path("served").unlink()
    code, out, err = golem("watch", "in", *ONCE)
    assert (code, out, Path("served").exists()) == (0, "", False), "nothing is started for nothing"
    assert err.endswith("golem: 0 files done, 2 done before.\n")


def test_formats_can_be_repeated_and_json_runs_the_whole_chain(golem, own):
    code, out, _ = golem(
        "watch", "in", "-o", "out", "-f", "srt", "-f", "json", "-f", "srt", "--labels", "light,music", "--json", *ONCE
    )
    assert (code, own) == (0, [("scribe", "interpreter", "oracle")])
    assert below("out") == ["one.json", "one.srt", "two.json", "two.srt"]
    assert json.loads(Path("out/one.json").read_text())["intent"]["label"] == "light"
    assert {json.loads(line)["name"] for line in out.splitlines()} == {"in/one.wav", "in/two.wav"}


def test_with_a_server_in_the_settings_the_running_system_does_it(golem, redis, worker, monkeypatch):
    monkeypatch.setattr(system, "private_system", lambda *_: pytest.fail("a system was started"))
    code, _, _ = golem("watch", "in", "-f", "json", "--stop", "interpreter", *ONCE)
    assert code == 0
    jobs = [json.loads(redis.hget(key, "job")) for key in redis.scan_iter("golem:job:*")]
    assert {(job["name"], job["stop"], job.get("lane", "bulk")) for job in jobs} == {
        ("in/one.wav", "interpreter", "bulk"), ("in/two.wav", "interpreter", "bulk"),
    }  # fmt: skip


def test_failures_are_exit_1_and_the_list_is_named(golem, redis, worker):
    Path("in/bad.wav").write_text("x")
    code, _, err = golem("watch", "in", "-o", "out", *ONCE)
    assert code == 1
    assert "golem: in/bad.wav is not audio that we can read." in err
    assert err.endswith("golem: 2 files done, 1 failed (see out/failures.jsonl).\n")


def test_once_gives_up_where_nothing_can_be_written(golem, redis, worker, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "PATIENCE_S", 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(Results, "write", full)
        code, out, err = golem("watch", "in", "-o", "out", *ONCE)
    assert (code, out) == (1, "")
    assert err.count("(No space left on device): it is tried again every 5 s.") == 1
    assert err.endswith("Stopped: 0 files done, 2 files with unwritten results. Run the same command again to go on.\n")
    assert golem("watch", "in", "-o", "out", *ONCE)[0] == 0


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ((), "FOLDER"),
        (("gone",), "There is no folder gone: name one to watch."),
        (("in/one.wav",), "There is no folder in/one.wav: name one to watch."),
        (("in", "-o", "in/one.wav"), "Cannot write to in/one.wav (File exists): choose a folder with --out."),
        (("in", "-f", "doc"), "doc"),
        (("in", "--settle", "0"), "--settle"),
        (("in", "--labels", "a,b"), "--labels finds intents, which --format json shows"),
        (("in", "--seed", "1"), "The parameters of the reply have no effect"),
        (("in", "--stop", "scribe", "--labels", "a,b"), "Labels have no effect on a job that stops at the scribe"),
        (("in", "--vocabulary", ""), "vocabulary"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence_before_anything_runs(golem, redis, monkeypatch, typed, why):
    monkeypatch.setattr(Pipeline, "submit_with", lambda *_, **__: pytest.fail("it was submitted"))
    code, out, err = golem("watch", *typed)
    assert (code, out) == (2, "")
    assert why in " ".join(err.split())
    assert "Traceback" not in err
    assert not Path("in/.golem-watch.jsonl").exists()


def test_a_server_that_is_not_there_is_said_at_the_start(golem, monkeypatch):
    monkeypatch.setenv("GOLEM_REDIS_URL", "redis://127.0.0.1:1/0")
    code, _, err = golem("watch", "in")
    assert code == 1
    assert "127.0.0.1:1" in err


def test_without_watchfiles_the_sentence_names_the_extra_and_once_does_without(golem, redis, worker, monkeypatch):
    monkeypatch.setattr(changes, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    code, _, err = golem("watch", "in")
    assert code == 1
    assert "pip install 'golem-chain[watch]'" in err
    assert golem("watch", "in", *ONCE)[0] == 0
