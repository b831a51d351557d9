"""The lasting system of `golem serve`: a server whose jobs survive it, and a worker; each is started again if it dies.

The worker, in a thread of its own:

pulling ──► starting ──► running        what the system waits for is `phase`, and one sentence for users
   ▲            │           │
   └── failed ◄─┴───────────┘           after a pause that grows with each failure
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Literal

import redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded, system
from golem_chain.broker.local.data_folder import DataFolder
from golem_chain.broker.local.process import die_with_parent
from golem_chain.broker.local.worker_log import WorkerLog
from golem_chain.shared.errors import BrokerAway
from golem_chain.shared.settings import Settings

Phase = Literal["pulling", "starting", "running", "failed"]

NODE = "serve"
LOG = "worker.log"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
STEADY_S = 60.0  # a worker that ran for longer did not fail at its start
_TICK_S = 0.1
_LOOK_S = 0.5  # interval of looking for the server
_MORE_S = 3.0  # for a worker to stop beyond GOLEM_STOP_S, which is for what it has in hand

_PULLING = "The models are being looked for, and downloaded if they are missing: the server's terminal shows progress."
_STARTING = "The worker is starting."
_RUNNING = "The worker is running."


def pause_s(failures: int) -> float:
    """Return how long to wait before the next start, after so many failures in a row (1 or more): 1, 2, 4, … 60 s."""
    return float(min(FIRST_PAUSE_S * 2 ** min(failures - 1, 10), LONGEST_PAUSE_S))


class LastingSystem:
    """The running server, and what is known of the worker. `phase` and `sentence` change in another thread."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        """Claim the folder and start the server. Raises MissingExtra, BadSetting, BrokerAway.

        `say` gets the sentences for the terminal.
        """
        system.need_worker("set GOLEM_REDIS_URL to a running system")
        self._say, self._given = say, settings
        self.phase: Phase = "starting"
        self.sentence = _STARTING
        self._ending = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None  # what is being waited for: a pull, or the worker
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._keep_worker, name="worker"),
            threading.Thread(target=self._keep_server, name="server"),
        ]
        with ExitStack() as opened:
            self.folder = opened.enter_context(DataFolder(settings.serve_data))
            self._server = opened.enter_context(
                embedded.start(self.folder.path, appendonly=True, holds=(self.folder.lock,))
            )
            self._log = WorkerLog(self.folder.path / LOG)
            opened.callback(self._log.close)
            self._opened = opened.pop_all()
        # no replicas confirm its writes
        self.settings = settings.model_copy(update={"redis_url": self._server.url, "redis_wait": 0})

    def begin(self) -> None:
        """Pull the missing models with progress on stderr, and start the worker: in threads, until `close`."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the worker, which hands back what it has in hand after GOLEM_STOP_S, then the server."""
        with self._lock:
            self._ending.set()
            process = self._process
        if process is not None:
            system.end(process, self._given.stop_s + _MORE_S)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._opened.close()

    # -- the threads

    def _keep_server(self) -> None:
        """Start the server again, with all that it held, if it dies. Clients wait for it."""
        failures = 0
        while not self._ending.wait(min(_LOOK_S * 2**failures, LONGEST_PAUSE_S)):
            if self._server.pid is not None:
                failures = 0
                continue
            self._say("The embedded server has stopped, and is started again.")
            try:
                self._server.restart()
            except BrokerAway as exc:
                failures = min(failures + 1, 10)
                self._say(exc.message)

    def _keep_worker(self) -> None:
        failures = 0
        while not self._ending.is_set():
            begun = time.monotonic()
            why = self._pull() or self._work()
            if self._ending.is_set():
                return
            failures = 1 if time.monotonic() - begun > STEADY_S else failures + 1
            wait_s = pause_s(failures)
            self._tell("failed", f"{why} Jobs wait; the next try is in {wait_s:g} s.")
            self._say(self.sentence)
            self._ending.wait(wait_s)

    def _pull(self) -> str | None:
        """Pull what is missing; return why not."""
        self._tell("pulling", _PULLING)
        code = self._run(
            lambda: subprocess.Popen(
                [*system.WORKERS, "ensure", *system.STAGES],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        )
        return f"The models could not be pulled (exit code {code}, the reason is above)." if code else None

    def _work(self) -> str:
        """Run the worker until it ends; return why it did."""
        self._tell("starting", _STARTING)
        self._log.last = ""
        code = self._run(self._start_worker, self._await_claim)
        return system.ended(code, self._log.last).rstrip(".") + "."

    def _start_worker(self) -> "subprocess.Popen[bytes]":
        worker = system.start_worker(["--name", NODE], self._server.url, {"GOLEM_REDIS_WAIT": "0"}, subprocess.PIPE)
        assert worker.stdout is not None
        self._log.follow(worker.stdout)
        return worker

    def _await_claim(self, worker: "subprocess.Popen[bytes]") -> None:
        """Wait until the worker takes jobs, or has ended: from then on its claim on the name carries its process id."""
        key = Keys(self._given.prefix).box(f"{NODE}@{socket.gethostname()}")
        with redis.Redis.from_url(self._server.url, socket_timeout=5) as client:
            while worker.poll() is None and not self._ending.wait(_TICK_S):
                with suppress(redis.RedisError):
                    pid, queues = client.hmget(key, "pid", "queues")
                    if pid == str(worker.pid).encode() and queues is not None:
                        self._tell("running", _RUNNING)
                        return

    def _run(
        self,
        start: Callable[[], "subprocess.Popen[bytes]"],
        meanwhile: Callable[["subprocess.Popen[bytes]"], None] = lambda _: None,
    ) -> int:
        """Run a process, which `close` can stop, and return its exit code."""
        with self._lock:  # between the look at `_ending` and the start, `close` would miss it
            if self._ending.is_set():
                return 0
            self._process = process = start()
        meanwhile(process)
        code = process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # its session, including an orphaned child
        with self._lock:
            self._process = None
        return code

    def _tell(self, phase: Phase, sentence: str) -> None:
        self.phase, self.sentence = phase, sentence
