"""Checks of the Redis server itself: version, persistence, memory, clock."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from golem_chain.shared.finding import Finding
from golem_chain.shared.sizes import format_bytes
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from redis import Redis

#: The first version with functions, and with the selectors of `broker.acl`. Valkey reports the Redis that it replaces.
LEAST_VERSION = (7, 0)
#: Share of maxmemory above which there is a warning.
MEMORY_SHARE = 0.8
#: Difference between the clocks above which there is a warning, seconds.
SKEW_S = 1.0


@dataclass(frozen=True)
class Server:
    """What the server says of itself."""

    info: Mapping[str, Any]  # the answer of INFO
    skew_s: float = 0.0  # this machine's clock minus the server's
    error_s: float = 0.0  # half the time that the server took to answer


def read(client: "Redis") -> Server:
    """Read the server's state. Raises redis.RedisError if Redis fails."""
    info = client.info()
    before = time.time()
    seconds, micros = client.time()
    after = time.time()
    return Server(info, (before + after) / 2 - seconds - micros / 1e6, (after - before) / 2)


def check(server: Server) -> list[Finding]:
    """Return one finding for each check."""
    return [one(server) for one in CHECKS]


def answers(server: Server) -> Finding:
    """The server was reached, otherwise there would be no state to check."""
    name = "Valkey" if server.info.get("server_name") == "valkey" else "Redis"
    version = server.info.get("valkey_version" if name == "Valkey" else "redis_version", "unknown version")
    return Finding("redis", "ok", f"{name} answers ({visible(str(version), 20)})")


def version(server: Server) -> Finding:
    """Redis users need selectors and functions."""
    told = str(server.info.get("redis_version", ""))
    parts = [int(part) if part.isdigit() else 0 for part in told.split(".")[:2]]
    if not told:
        return Finding("version", "skipped", "The server does not tell its version")
    if tuple(parts) < LEAST_VERSION:
        return Finding("version", "wrong", f"The server is Redis {visible(told, 20)}", "upgrade it to 7.0 or later")
    return Finding("version", "ok", "The server has the commands of Redis 7")


def cluster(server: Server) -> Finding:
    """The scripts use keys of several slots."""
    if server.info.get("cluster_enabled"):
        return Finding("cluster", "wrong", "Redis Cluster is not supported", "use a server without cluster mode")
    return Finding("cluster", "ok", "The server is not a cluster")


def persistence(server: Server) -> Finding:
    """Without an append-only file a restart of the server loses all jobs."""
    if "aof_enabled" not in server.info:
        return Finding("persistence", "skipped", "The server does not tell whether it has an append-only file")
    if not server.info["aof_enabled"]:
        return Finding(
            "persistence",
            "warning",
            "A restart of the server loses jobs",
            "set appendonly yes in the server's redis.conf",
        )
    if server.info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            "persistence", "wrong", "The server cannot write its append-only file", "free space on the server's disk"
        )
    return Finding("persistence", "ok", "The server keeps an append-only file")


def eviction(server: Server) -> Finding:
    """Any other policy than noeviction deletes jobs when memory is full."""
    policy = server.info.get("maxmemory_policy")
    if policy is None:
        return Finding("eviction", "skipped", "The server does not tell its maxmemory-policy")
    if policy != "noeviction":
        told = f"maxmemory-policy is {visible(str(policy), 20)}: a full server deletes jobs"
        return Finding("eviction", "wrong", told, "set maxmemory-policy noeviction")
    return Finding("eviction", "ok", "A full server deletes nothing (noeviction)")


def memory(server: Server) -> Finding:
    """A full server rejects jobs until others have ended."""
    used, limit = server.info.get("used_memory"), server.info.get("maxmemory")
    if used is None or limit is None:
        return Finding("memory", "skipped", "The server does not tell its memory")
    if not limit:
        return Finding("memory", "ok", f"The server uses {format_bytes(used)}; it has no maxmemory")
    told = f"The server uses {format_bytes(used)} of {format_bytes(limit)}"
    if used > MEMORY_SHARE * limit:
        return Finding("memory", "warning", told, "raise its maxmemory, or lower GOLEM_VAULT_LIMIT or GOLEM_KEEP_S")
    return Finding("memory", "ok", told)


def clock(server: Server) -> Finding:
    """Delivery uses the server's clock only; the times in logs and Flower are those of the machines."""
    skew_s = abs(server.skew_s)
    if skew_s - server.error_s > SKEW_S:
        told = f"The clock is {skew_s:.1f} s {'ahead of' if server.skew_s > 0 else 'behind'} the server's"
        return Finding("clock", "warning", told, "run NTP on both; leases are not affected")
    return Finding("clock", "ok", "The clock agrees with the server's")


CHECKS: tuple[Callable[[Server], Finding], ...] = (answers, version, cluster, persistence, eviction, memory, clock)
