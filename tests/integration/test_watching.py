"""A watched folder with the kernel's reports, a real server and a worker with fake engines; killed watchers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from golem_chain.broker.keys import Keys
from golem_chain.broker.local.process import die_with_parent
from golem_chain.broker.watching.changes import Changes
from tests.support.paths import python_path

keys = Keys()


class Run:
    """`golem watch in -o out` in a process of its own."""

    def __init__(self, chain, folder, *args):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "golem_chain.broker.cli", "watch", "in", "-o", "out", "--settle", "0.5", *args],
            env=os.environ | chain.env | {"PYTHONPATH": python_path()}, cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_parent(signal.SIGKILL),
        )  # fmt: skip

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        out, err = self.process.communicate(timeout=60)
        assert "Traceback" not in err
        return self.process.returncode, out, err


@pytest.fixture
def watch(chain, tmp_path):
    (tmp_path / "in").mkdir()
    runs = []

    def start(*args):
        runs.append(Run(chain, tmp_path, *args))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.communicate()


def results(folder):
    return {str(path.relative_to(folder / "out")): path.read_text() for path in (folder / "out").rglob("*.txt")}


def runs(chain):
    """Return how many jobs the server knows."""
    return len(list(chain.client.scan_iter("golem:job:*")))


def test_files_that_come_in_every_way_have_their_results(chain, watch, tmp_path, eventually):
    inside = tmp_path / "in"
    (inside / "first.wav").write_bytes(b"first words")
    run = watch()
    eventually(lambda: "first.txt" in results(tmp_path))
    (inside / ".second.wav.Xy12").write_bytes(b"second words")  # as rsync does
    (inside / ".second.wav.Xy12").rename(inside / "second.wav")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "third.wav").write_bytes(b"third words")
    (tmp_path / "whole").rename(inside / "sub")
    with (inside / "fourth.wav").open("wb") as file:
        for word in (b"fourth ", b"words"):
            file.write(word)
            file.flush()
            time.sleep(0.3)
    expected = {"first.txt": "first", "second.txt": "second", "sub/third.txt": "third", "fourth.txt": "fourth"}
    eventually(lambda: len(results(tmp_path)) >= 4, told=lambda: results(tmp_path))
    (inside / "first.wav").write_bytes(b"other words")
    eventually(lambda: results(tmp_path)["first.txt"] == "other words\n")
    code, out, err = run.end()
    assert results(tmp_path) == {name: f"{word} words\n" for name, word in (expected | {"first.txt": "other"}).items()}
    assert code == 130
    assert "Stopped: 5 files done, and nothing is left to do." in err
    assert out.split()[0] == "out/first.txt"


def test_a_watcher_that_is_killed_at_any_moment_repeats_no_job(chain, watch, tmp_path, eventually):
    before = runs(chain)
    for n in range(30):
        (tmp_path / "in" / f"{n}.wav").write_bytes(f"killed {n} {tmp_path}".encode())
    for pause_s in (0.1, 0.8, 1.2, 1.6):
        run = watch()
        time.sleep(pause_s + 0.7)  # 0.7 s: Python and its imports
        run.end(signal.SIGKILL)
    code, _, err = watch("--once").wait()
    assert code == 0, err
    assert len(results(tmp_path)) == 30
    assert runs(chain) - before == 30
    code, _, err = watch("--once").wait()
    assert (code, "0 files done, 30 done before" in err) == (0, True)


def test_two_watchers_run_each_file_once(chain, watch, tmp_path):
    before = runs(chain)
    for n in range(20):
        (tmp_path / "in" / f"{n}.wav").write_bytes(f"two {n} {tmp_path}".encode())
    ends = [run.wait() for run in [watch("--once"), watch("--once")]]
    assert [code for code, _, _ in ends] == [0, 0]
    assert len(results(tmp_path)) == 20
    assert runs(chain) - before == 20


def test_ctrl_c_hands_back_and_the_next_run_takes_the_results(chain, watch, tmp_path, eventually):
    gate = tmp_path / "gate"
    (tmp_path / "in" / "slow.wav").write_bytes(f"until {gate}".encode())
    run = watch()
    eventually(Path(f"{gate}.begun").exists)
    code, out, err = run.end()
    assert (code, out) == (130, "")
    assert "0 files done, 1 file running. The jobs go on: run the same command again to go on." in err
    gate.touch()
    code, out, err = watch("--once").wait()
    assert (code, out) == (0, "out/slow.txt\n")


def test_failures_are_listed_and_tried_again_by_the_next_run(chain, watch, tmp_path):
    flag = tmp_path / "flag"
    (tmp_path / "in" / "bad.wav").write_bytes(b"bad")
    (tmp_path / "in" / "poison.wav").write_bytes(f"die without {flag}".encode())
    (tmp_path / "in" / "good.wav").write_bytes(b"good")
    code, out, err = watch("--once").wait()
    assert (code, out) == (1, "out/good.txt\n")
    listed = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert [(one["file"], one["code"]) for one in listed] == [
        ("bad.wav", "bad-audio"), ("poison.wav", "too-many-deliveries"),
    ]  # fmt: skip
    assert listed[0]["message"] == "in/bad.wav is not audio."
    assert "in/bad.wav is not audio." in err
    assert "1 file done, 2 failed (see out/failures.jsonl)." in err
    flag.touch()
    code, out, err = watch("--once").wait()
    assert (code, out) == (1, "out/poison.txt\n")
    assert [json.loads(one)["file"] for one in (tmp_path / "out/failures.jsonl").read_text().splitlines()] == [
        "bad.wav"
    ]


def test_a_folder_that_is_moved_away_and_back_is_watched_again(chain, watch, tmp_path, eventually):
    run = watch()
    (tmp_path / "in" / "a.wav").write_bytes(b"before")
    eventually(lambda: "a.txt" in results(tmp_path))
    shutil.rmtree(tmp_path / "in")
    time.sleep(1.5)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.wav").write_bytes(b"after")
    eventually(lambda: "b.txt" in results(tmp_path))
    (tmp_path / "in" / "c.wav").write_bytes(b"later")
    eventually(lambda: "c.txt" in results(tmp_path))
    code, _, err = run.end()
    assert code == 130
    assert err.count("is gone: waiting for it to come back") == err.count("is back") == 1


@pytest.mark.parametrize("poll", [False, True])
def test_changes_are_heard_from_the_kernel_or_by_polling(tmp_path, eventually, poll):
    folder = tmp_path.resolve()
    changes = Changes(folder, poll=poll)
    changes.start()
    heard: set[str] = set()
    try:

        def hears(path):
            path.write_text(str(time.monotonic()))  # until the thread listens
            heard.update(changes.take() or ())
            changes.wait(0.1)
            return str(path) in heard

        eventually(lambda: hears(folder / "a.wav"))
        (folder / "sub").mkdir()
        eventually(lambda: hears(folder / "sub" / "b.wav"))
        changes.start()  # anew
        heard.clear()
        eventually(lambda: hears(folder / "c.wav"))
        assert changes.broken is None
    finally:
        changes.close()
    assert not [one for one in threading.enumerate() if one.name == "changes"]


def test_a_folder_that_is_not_there_to_listen_to_is_said(tmp_path, eventually):
    changes = Changes(tmp_path / "gone", poll=False)
    changes.start()
    assert "No path" in eventually(lambda: changes.broken)
    changes.close()
