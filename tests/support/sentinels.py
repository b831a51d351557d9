"""A primary with a replica and three sentinels, in real processes of the embedded server's binary.

The sentinels call a server down after DOWN_S and then promote the replica.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from golem_chain.broker.local.process import die_with_parent

NAME = "golem"
PASSWORD, SENTINEL_PASSWORD = "server-pass-word", "sentinel-pass-word"
DOWN_S = 0.7


class Watched:
    """The processes; `url` names the sentinels. Its `stop` makes it a server for `tests.support.chain.Chain`."""

    def __init__(self, program: Path, folder: Path, eventually: Callable[..., Any]) -> None:
        self.program, self.folder, self._eventually = program, folder, eventually
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        first, second, *self.sentinels = _free_ports(5)
        self.servers = (first, second)
        self.start(first)
        self.start(second, f"replicaof 127.0.0.1 {first}")
        eventually(lambda: self.is_linked(second))
        for port in self.sentinels:
            watch = f"sentinel monitor {NAME} 127.0.0.1 {first} 2\nsentinel auth-pass {NAME} {PASSWORD}\n"
            watch += f"sentinel down-after-milliseconds {NAME} {DOWN_S * 1000:.0f}\n"
            watch += f"sentinel failover-timeout {NAME} 2000\n"
            self.run(
                port,
                f"{watch}requirepass {SENTINEL_PASSWORD}\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n",
                "--sentinel",
            )
        eventually(self.is_ready)
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        self.url = f"sentinel://:{PASSWORD}@{hosts}/0?master={NAME}&sentinel_password={SENTINEL_PASSWORD}"

    def run(self, port: int, config: str, *words: str) -> None:
        """Start a process with its configuration in a file, which a sentinel rewrites."""
        file = self.folder / f"{port}.conf"
        if not file.exists():
            file.write_text(f"bind 127.0.0.1\nport {port}\nlogfile {port}.log\n{config}")
        self.processes[port] = subprocess.Popen(
            [str(self.program), str(file), *words],
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )

    def start(self, port: int, config: str = "") -> None:
        """Start a server, or start it again with its append-only file."""
        common = f"requirepass {PASSWORD}\nprimaryauth {PASSWORD}\nappendonly yes\nappenddirname {port}\n"
        self.run(port, f"{common}save ''\nrepl-diskless-sync-delay 0\nmaxmemory-policy noeviction\n{config}\n")
        self._eventually(lambda: _answers(self.client(port)))

    def client(self, port: int) -> Any:
        """A plain client of one server or sentinel."""
        password = SENTINEL_PASSWORD if port in self.sentinels else PASSWORD
        return redis.Redis(port=port, password=password, decode_responses=True)

    def primary(self) -> int:
        """The port of the primary that the first sentinel names."""
        with self.client(self.sentinels[0]) as one:
            return int(one.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1])

    def replica(self) -> int:
        """The port of the other server."""
        [other] = set(self.servers) - {self.primary()}
        return other

    def is_linked(self, port: int) -> bool:
        """Whether a server is a replica that has its primary's data."""
        with self.client(port) as one:
            told = one.info("replication")
        return told["role"] == "slave" and told["master_link_status"] == "up" and not told["master_sync_in_progress"]

    def is_ready(self) -> bool:
        """Whether every sentinel knows the replica and the other sentinels, so that they can agree on a failover."""
        for port in self.sentinels:
            with self.client(port) as one:
                told = one.sentinel_master(NAME)
            if (told["num-slaves"], told["num-other-sentinels"]) != (1, len(self.sentinels) - 1):
                return False
        return self.is_linked(self.replica())

    def signal(self, port: int, how: signal.Signals) -> None:
        """Send a signal to a process; wait for its end if that is SIGKILL."""
        os.kill(self.processes[port].pid, how)
        if how is signal.SIGKILL:
            self.processes[port].wait()

    def fail_over(self) -> None:
        """Promote the replica while the primary lives, and wait until every sentinel names it."""
        before = self.primary()
        with self.client(self.sentinels[0]) as one:
            one.execute_command("SENTINEL", "FAILOVER", NAME)
        self._eventually(lambda: self.primary() != before)

    def heal(self) -> None:
        """Start what was killed, and wait until another failover is possible."""
        for port, process in list(self.processes.items()):
            if process.poll() is not None:
                self.run(port, "", *(["--sentinel"] if port in self.sentinels else []))
        self._eventually(lambda: all(_answers(self.client(port)) for port in self.processes))
        self._eventually(self.is_ready)

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def _answers(client: Any) -> bool:
    with client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
