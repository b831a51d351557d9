"""`golem serve` as a program whose worker has fake engines: `python -m tests.support.serve --port 40000`.

Paths beside those of the door:     /test/slow?s=2    answers after so many seconds
                                    /test/events      a stream of events that never ends by itself
                                    /test/modules     the names of the modules that are imported
                                    /test/bug         an error that nobody expects
Its pull takes PULL_S seconds and fails while the file PULL_FAILS exists.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.support.paths import python_path

START_S = 60.0
STUBS, REAL = ("tests.support.serve",), ("golem_chain.broker.cli", "serve")


class Served:
    """A running `golem serve` with a folder of its own."""

    def __init__(self, folder, *args, port=None, wait=True, program=STUBS, **env):
        self.folder, self.port = folder, port or free_port()
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", *program, "--port", str(self.port), "--wyoming-port", "0", *args],
            env=os.environ
            | {"PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "GOLEM_SERVE_DATA": str(folder / "serve")}
            | {key: str(value) for key, value in env.items()},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        self.family: set[int] = {self.process.pid}
        if wait:
            self.until(lambda: "Ctrl-C" in self.said)
            self.scheme = "https" if "https://" in self.said else "http"
            self.url = f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def said(self):
        """What was printed so far."""
        return "".join(self.lines)

    def until(self, condition, within_s=START_S):
        """Wait for a condition and return its value; fail with what was printed."""
        end = time.monotonic() + within_s
        while not (found := condition()):
            assert time.monotonic() < end, self.said
            if self.process.poll() is not None:
                self._reading.join()
                if found := condition():
                    return found
                raise AssertionError(self.said)
            time.sleep(0.02)
        return found

    def below(self):
        """Return the ids of the process and all its descendants."""
        self.family |= set(_below(self.process.pid))
        return self.family

    def worker(self, other_than=None):
        """Wait until the worker takes jobs; return its process id and the URL of the queue."""

        def found():
            for pid in self.below() - {other_than}:
                words = read(f"/proc/{pid}/cmdline").split(b"\0")
                if b"tests.support.chain_worker" in words and self._claims(pid):
                    return pid, _environ(pid)["GOLEM_REDIS_URL"]
            return None

        return self.until(found)

    def worker_started(self):
        """Whether there is a worker, at work or not."""
        return any(b"chain_worker" in read(f"/proc/{pid}/cmdline") for pid in self.below())

    def _claims(self, pid):
        import redis

        from golem_chain.broker.keys import Keys

        with redis.Redis.from_url(_environ(pid)["GOLEM_REDIS_URL"]) as client:
            told = client.hmget(Keys("golem").box(f"serve@{socket.gethostname()}"), "pid", "queues")
        return told[0] == str(pid).encode() and told[1]

    def end(self, how=signal.SIGTERM, within_s=30):
        """End it with a signal, and return the exit code and what was printed."""
        self.below()
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(within_s)
        finally:
            self.process.kill()
            self._reading.join()
        return code, self.said

    def _read(self):
        assert self.process.stderr
        with self.process.stderr as stream:
            for line in stream:
                self.lines.append(line)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def alive(pid):
    """Whether a process exists and is no zombie."""
    return read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"])


def read(path):
    """Return a file's bytes; none if it is gone."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _environ(pid):
    pairs = (one.partition(b"=") for one in read(f"/proc/{pid}/environ").split(b"\0"))
    return {name.decode(): value.decode() for name, _, value in pairs}


def _below(pid):
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        words = read(path).rpartition(b")")[2].split()
        if words[1:2] == [str(pid).encode()]:
            found += _below(int(path.parent.name))
    return found


# -- the program


def _as_worker(command, *_):
    if command == "ensure":
        time.sleep(float(os.environ.get("PULL_S", "0")))
        sys.exit(int(Path(os.environ.get("PULL_FAILS", "/none")).exists()))
    os.execv(sys.executable, [sys.executable, "-m", "tests.support.chain_worker", "serve"])


def _main():
    from fastapi import FastAPI
    from starlette.responses import JSONResponse

    from golem_chain.broker.cli import main
    from golem_chain.broker.doors import server
    from golem_chain.broker.doors.intake.sse import Event, EventStream
    from golem_chain.broker.local import system

    system.WORKERS = (sys.executable, "-m", "tests.support.serve", "--as-worker")
    patched = vars(server)
    create = patched["create_app"]

    def create_app(door):
        app: FastAPI = create(door)

        async def slow(s: float) -> JSONResponse:
            await asyncio.sleep(s)
            return JSONResponse({"slept": s})

        async def events() -> EventStream:
            async def ticks():
                for n in range(10**9):
                    yield Event({"n": n})
                    await asyncio.sleep(0.05)

            return EventStream(door, ticks())

        async def modules() -> JSONResponse:
            return JSONResponse(sorted(sys.modules))

        async def bug() -> JSONResponse:
            raise ValueError("secret words of the user")

        for route in (slow, events, modules, bug):
            app.add_api_route(f"/test/{route.__name__}", route)
        return app

    patched["create_app"] = create_app
    sys.argv[1:1] = ["serve"]
    main.main()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-worker"]:
        _as_worker(*sys.argv[2:])
    else:
        _main()
