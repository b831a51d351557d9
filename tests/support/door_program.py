"""`golem serve` as a program of its own, with shorter deadlines, so that what it takes of the machine can be measured.

The tests run it: `HEAD_S=1 python -m tests.support.door_program`. SIGUSR1 makes it print its number of tasks.
"""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

from golem_chain.broker.doors import server
from golem_chain.broker.doors.access import limits
from golem_chain.broker.local.process import die_with_parent
from golem_chain.shared.settings import Settings
from tests.support.paths import python_path

_SHORTER = ("HEAD_S", "BODY_IDLE_S", "BODY_SLOW_S", "LINGER_S", "WRITE_S")


class DoorProcess:
    """A running program."""

    def __init__(self, process, url, log):
        self.process, self.url, self.log_path = process, url, log
        self.port = int(url.rpartition(":")[2])

    @property
    def log(self):
        return self.log_path.read_text()

    def resident_bytes(self):
        """What the process takes of memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def descriptors(self):
        """How many files and connections it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def tasks(self):
        """How many tasks its event loop has."""
        seen = self.log.count("tasks: ")
        self.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + 10
        while self.log.count("tasks: ") == seen:
            assert time.monotonic() < end, self.log
            time.sleep(0.01)
        return int(self.log.rpartition("tasks: ")[2].split()[0])


@contextmanager
def door_process(chain, folder, deadlines=None, **given):
    """Run the program for a chain during the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    more = {f"GOLEM_{key.upper()}": str(value) for key, value in given.items()}
    more |= {key: str(value) for key, value in (deadlines or {}).items()}
    more |= {"GOLEM_SERVE_PORT": str(port), "GOLEM_WYOMING_PORT": "0", "PYTHONPATH": python_path()}
    path = folder / "door.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.door_program"],
            env=os.environ | chain.env | more,
            cwd=folder,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    door = DoorProcess(process, f"http://127.0.0.1:{port}", path)
    try:
        end = time.monotonic() + 60
        while True:
            assert process.poll() is None, door.log
            assert time.monotonic() < end, door.log
            try:
                httpx.get(f"{door.url}/health")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield door
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def tell_tasks(*_):
    """Print the number of tasks."""
    running = [one for one in gc.get_objects() if isinstance(one, asyncio.Task) and not one.done()]
    print(f"tasks: {len(running)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    for name in _SHORTER:
        if name in os.environ:
            setattr(limits, name, float(os.environ[name]))
    signal.signal(signal.SIGUSR1, tell_tasks)
    server.run(Settings.read(_env_file=None), print)
