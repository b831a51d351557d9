"""Checks whether the system in Redis is of this release, and whether a forgotten producer of an older one goes on."""

from typing import TYPE_CHECKING

from golem_chain.broker import wire
from golem_chain.broker.keys import Keys
from golem_chain.broker.wire import WIRE, Left
from golem_chain.shared.finding import Finding
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from redis import Redis


def examine(client: "Redis", keys: Keys) -> list[Finding]:
    """Return the finding. `client` must not decode replies. Raises redis.RedisError if Redis fails."""
    return [check(wire.version(client, keys), wire.left(client, keys))]


def check(version: str | None, left: Left) -> Finding:
    """Return the finding for a version, None for none, and what older releases left."""
    if version not in (None, WIRE):
        told = f"The system in Redis has wire version {visible(str(version), 20)}, this release {WIRE}"
        return Finding("wire", "wrong", told, "use the release that wrote it, or golem upgrade if it is older")
    if left and version is None:
        told = f"Messages of an older release wait ({counted(left)})"
        return Finding("wire", "wrong", told, "stop all workers and run golem upgrade")
    if left:
        told = f"A producer of 0.1 or 0.2 still submits jobs, which no worker serves ({counted(left)})"
        remedy = "upgrade the producer, then stop all workers, run golem upgrade and start them"
        return Finding("wire", "wrong", told, remedy)
    if version is None:
        return Finding("wire", "ok", "No worker has started yet, and nothing of an older release waits")
    return Finding("wire", "ok", f"The system is of this release (wire version {WIRE})")


def counted(left: Left) -> str:
    """Return the numbers of messages by stage."""
    parts = [f"{stage} {count}" for stage, count in left.waiting.items()]
    return ", ".join(parts + ([f"in hand {left.in_hand}"] if left.in_hand else []))
