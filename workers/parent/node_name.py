"""A node's name belongs to one live worker: claimed in Redis, renewed every second, free again 3 s after a death."""

import json
import os
import secrets
import socket
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from golem_chain.broker import keys
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import scripts
from golem_chain.shared.errors import BadSetting

RENEW_S = 1.0
EXPIRY_S = 3.0


def node_name(name: str | None) -> str:
    """`box1` becomes `box1@host`, as Celery and Flower want it; the default is `golem@host`."""
    name = name or "golem"
    return name if "@" in name else f"{name}@{socket.gethostname()}"


class NodeName:
    """The claim on a node's name. Other fields of the same hash (`golem:box:<node>`) expire with it."""

    def __init__(self, client: Redis, node: str) -> None:
        self.node, self.key = node, keys.box(node)
        self._client, self._token = client, secrets.token_hex(8)
        self._host, self._pid = _this_host(), str(os.getpid())

    def take(self) -> None:
        """Take the name, waiting up to 3 s for one whose holder died. Raises BadSetting where the holder lives."""
        end, least = time.monotonic() + EXPIRY_S + 0.5, None
        while holder := self._ask():
            host, pid, left_ms = (part.decode() if isinstance(part, bytes) else part for part in holder)
            if host == self._host and not _alive(int(pid)):
                self._client.eval(scripts.RELEASE_NAME, 1, self.key, host, pid)
                continue
            renewed = least is not None and int(left_ms) > least
            if renewed or time.monotonic() > end:
                raise BadSetting(
                    f"The name {self.node} is in use by a live worker (process {pid} on {host.split('/')[0]}): "
                    "give this one another with --name."
                )
            least = int(left_ms) if least is None else min(least, int(left_ms))
            time.sleep(0.1)

    def renew(self, tells: Mapping[str, Any] | None = None, holds: Collection[str] = ()) -> bool:
        """Renew the claim, and tell how the box stands and which queues it serves; False where the name was taken by
        another while this process slept."""
        try:
            fields = json.dumps({field: json.dumps(value) for field, value in (tells or {}).items()})
            return not self._ask(self.node, fields, *(int(stage in holds) for stage in STAGES))
        except (RedisError, OSError):
            return True  # Redis is away: nobody can take the name either

    def release(self) -> None:
        """Free the name."""
        try:
            if not self._ask(self.node, "{}", *(0 for _ in STAGES)):
                self._client.delete(self.key)
        except (RedisError, OSError):
            return  # it expires

    def _ask(self, *more: Any) -> list[bytes]:
        touched = (self.key, *map(keys.claim, STAGES))
        mine = (self._token, int(EXPIRY_S * 1000), self._host, self._pid)
        return list(self._client.eval(scripts.CLAIM_NAME, len(touched), *touched, *mine, *more))


def _this_host() -> str:
    """Where a process id means something: host, boot and pid namespace."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        return f"{socket.gethostname()}/{boot.read_text().strip()}/{space.readlink()}"
    except OSError:
        return socket.gethostname()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    try:  # a zombie holds no name
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True
