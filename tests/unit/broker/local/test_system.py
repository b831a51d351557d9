"""The private system of `golem run` leaves no processes or files behind, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from golem_chain.broker.local import system

DRIVER = """
import sys, time, tempfile
from golem_chain.broker.local import system
tempfile.tempdir = sys.argv[1]
system.WORKERS = (sys.executable, "-c", "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)")
with system.private_system([__file__]) as own:
    print(own.worker.pid, flush=True)
    time.sleep(60)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def below(pid):
    """Return the process and its descendants."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += below(int(path.parent.name))
    return found


def sleepers(pids):
    """Return the processes that run `sleep`."""
    found = []
    for pid in pids:
        try:
            found += [pid] * (Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0] == b"sleep")
        except OSError:
            continue
    return found


def gone(pids, within_s=30.0):
    end = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return [pid for pid in pids if alive(pid)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children of a killed parent")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_server_and_worker_go_with_the_command(tmp_path, how, eventually):
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    place = tmp_path / "place"
    place.mkdir()
    process = subprocess.Popen(
        [sys.executable, driver, place], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    int(process.stdout.readline())
    own = eventually(lambda: sleepers(below(process.pid)))
    family = below(process.pid)
    assert len(family) >= 4, "the command, its server, its worker and the worker's child"
    process.send_signal(how)
    process.communicate(timeout=60)
    if how == signal.SIGKILL:  # the worker's child dies with the worker: see its tests
        for pid in own:
            os.kill(pid, signal.SIGKILL)
    assert not gone(family)
    if how != signal.SIGKILL:
        assert not list(place.iterdir()), "the temporary folder is gone"
        assert process.returncode in (-how, 128 + how)


def run_with(monkeypatch, program):
    monkeypatch.setattr(system, "WORKERS", (sys.executable, "-c", program))
    return system.private_system([__file__])


def test_a_worker_that_ends_is_told_with_its_last_words(monkeypatch):
    with run_with(monkeypatch, "import sys; sys.exit('golem: the card is on fire')") as own:
        own.worker.wait(60)
        with pytest.raises(system.WorkerEnded, match="exit code 1; the last line of its log: the card is on fire"):
            own.check()


def test_a_worker_that_is_killed_is_told_with_the_signal(monkeypatch):
    with run_with(monkeypatch, "import time; time.sleep(60)") as own:
        own.check()
        os.kill(own.worker.pid, signal.SIGKILL)
        own.worker.wait(60)
        with pytest.raises(system.WorkerEnded, match=r"signal 9 \(SIGKILL\)"):
            own.check()


def test_the_log_of_the_worker_is_shown_on_request(monkeypatch, capsys):
    monkeypatch.setenv("GOLEM_DEBUG", "1")
    with run_with(monkeypatch, "print('Traceback: deep inside')") as own:
        own.worker.wait(60)
    assert "deep inside" in capsys.readouterr().err


def test_the_password_of_the_private_server_is_on_no_command_line(monkeypatch):
    with run_with(monkeypatch, "import time; time.sleep(60)") as own:
        password = own.settings.redis_url.split(":")[2].split("@")[0]
        assert len(password) > 20
        for pid in below(os.getpid()):
            assert password not in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")


def test_replicas_that_the_shared_server_has_are_not_expected_of_the_private_one(monkeypatch):
    monkeypatch.setenv("GOLEM_REDIS_WAIT", "1")
    with run_with(monkeypatch, "import time; time.sleep(60)") as own:
        assert own.settings.redis_wait == 0


def test_signal_handlers_are_as_before_afterwards(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    with run_with(monkeypatch, "import time; time.sleep(60)"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
