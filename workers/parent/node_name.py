"""Node names: each belongs to one live worker, by a claim in Redis that is renewed every second and expires in 3 s."""

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

from golem_chain.broker.keys import Keys
from golem_chain.broker.local.process import is_alive
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import scripts
from golem_chain.shared.errors import BadSetting

RENEW_S = 1.0
EXPIRY_S = 3.0


def node_name(name: str | None) -> str:
    """Return `box1@host` for `box1`, the form that Celery and Flower require; the default is `golem@host`."""
    name = name or "golem"
    return name if "@" in name else f"{name}@{socket.gethostname()}"


class NodeName:
    """The claim on a node name. Other fields of the same hash (`Keys.box`) expire with it."""

    def __init__(self, client: Redis, node: str, keys: Keys) -> None:
        self.node, self.key, self._keys = node, keys.box(node), keys
        self._client, self._token = client, secrets.token_hex(8)
        self._host, self._pid = _this_host(), str(os.getpid())

    def take(self) -> None:
        """Claim the name, waiting up to 3.5 s for a dead worker's claim to expire. Raises BadSetting if a live worker
        holds it."""
        end, least = time.monotonic() + EXPIRY_S + 0.5, None
        while holder := self._claim():
            host, pid, left_ms = (part.decode() if isinstance(part, bytes) else part for part in holder)
            if host == self._host and not is_alive(int(pid)):
                self._free(host, pid)
                continue
            renewed = least is not None and int(left_ms) > least
            if renewed or time.monotonic() > end:
                raise BadSetting(
                    f"The name {self.node} is in use by a live worker (process {pid} on {host.split('/')[0]}): "
                    "choose another with --name."
                )
            least = int(left_ms) if least is None else min(least, int(left_ms))
            time.sleep(0.1)

    def renew(self, tells: Mapping[str, Any] | None = None, holds: Collection[str] = ()) -> bool:
        """Renew the claims on the name and on the queues in `holds`, and publish the state in `tells`. Returns False if
        another worker took the name while this process was suspended."""
        try:
            fields = json.dumps({field: json.dumps(value) for field, value in (tells or {}).items()})
            return not self._claim(fields, *(int(stage in holds) for stage in STAGES))
        except (RedisError, OSError):
            return True  # Redis is down: no other worker can take the name either

    def release(self) -> None:
        """Release the name."""
        try:
            if not self._claim("{}", *(0 for _ in STAGES)):
                self._free(self._host, self._pid)
        except (RedisError, OSError):
            return  # it expires

    def _free(self, host: str, pid: str) -> None:
        self._client.eval(scripts.RELEASE_NAME, 2, self.key, self._keys.boxes, host, pid, self.node)

    def _claim(self, *more: Any) -> list[bytes]:
        touched = (self.key, self._keys.boxes, *map(self._keys.claim, STAGES))
        mine = (self._token, int(EXPIRY_S * 1000), self._host, self._pid, self.node)
        return list(self._client.eval(scripts.CLAIM_NAME, len(touched), *touched, *mine, *more))


def _this_host() -> str:
    """Return the scope in which a process id is unique: host, boot and pid namespace."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        return f"{socket.gethostname()}/{boot.read_text().strip()}/{space.readlink()}"
    except OSError:
        return socket.gethostname()
