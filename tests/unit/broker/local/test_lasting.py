"""The lasting system: its pauses, its folder, its log."""

import os
import subprocess
import sys
import threading

import pytest

from golem_chain.broker.local import system, worker_log
from golem_chain.broker.local.data_folder import DataFolder
from golem_chain.broker.local.lasting import LONGEST_PAUSE_S, LastingSystem, pause_s
from golem_chain.broker.local.worker_log import WorkerLog
from golem_chain.shared.errors import BadSetting, MissingExtra
from golem_chain.shared.settings import Settings


def test_pauses_grow_and_stay_bearable():
    pauses = [pause_s(failures) for failures in range(1, 2000)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses == sorted(pauses)
    assert max(pauses) == LONGEST_PAUSE_S


def test_a_folder_has_one_user_at_a_time(tmp_path):
    with DataFolder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        with pytest.raises(BadSetting, match=rf"process {os.getpid()}\) uses .*GOLEM_SERVE_DATA"):
            DataFolder(tmp_path / "a" / "b")
    DataFolder(tmp_path / "a" / "b").close()


def test_a_folder_is_free_when_what_its_dead_user_left_running_has_ended(tmp_path):
    """As a server that a killed `golem serve` leaves behind: it still writes for a moment."""
    child = "import time; time.sleep(1.0)"
    code = (
        "import sys, subprocess; from pathlib import Path; from golem_chain.broker.local.data_folder import DataFolder;"
        "folder = DataFolder(Path(sys.argv[1]));"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], pass_fds=[folder.lock])"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=60)
    with pytest.raises(BlockingIOError):
        _try(tmp_path)
    DataFolder(tmp_path).close()


def _try(folder):
    import fcntl

    with (folder / "lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadSetting, match=r"GOLEM_SERVE_DATA=.*/file/below cannot be used"):
        DataFolder(tmp_path / "file" / "below")


def test_without_the_model_libraries_it_is_said_what_to_do_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "find_spec", lambda name: None)
    settings = Settings.read(_env_file=None, serve_data=tmp_path / "serve")
    with pytest.raises(MissingExtra, match=r"pip install 'golem-chain\[worker\]', or set GOLEM_REDIS_URL to a running"):
        LastingSystem(settings, print)
    assert not (tmp_path / "serve").exists()


def test_the_log_remembers_its_last_line_and_does_not_grow_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_log, "MOST_BYTES", 2000)
    log = WorkerLog(tmp_path / "worker.log")
    out, into = os.pipe()
    reading: threading.Thread = log.follow(os.fdopen(out, "rb"))
    with os.fdopen(into, "wb") as stream:
        for n in range(1000):
            stream.write(f"line {n} \xff\n".encode("latin-1"))
        stream.write(b"x" * 100_000 + b"\n\nlast words\n\n")
    reading.join(10)
    log.close()
    assert log.last == "last words"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20_000
