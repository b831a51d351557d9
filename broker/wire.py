"""The version of what is in Redis, and what older releases left there.

A system's version is in `Keys.wire`. A worker sets it at its start, or `golem upgrade` does when it has moved what was
left. Workers and producers refuse any other version. Clients given to this module must not decode replies.

1   release 0.1: kombu's default names, Celery's chains in the messages
2   release 0.2: the same queues; messages in hand under names of our own
3   every key has the system's prefix; a message names its job and no more
4   each queue has two lanes; a job's hash tells where it is and which message is its current one
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES, task_name
from golem_chain.shared.errors import WireDiffers
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from redis import Redis

WIRE = "4"
#: The prefix of releases 0.1 and 0.2, which had no other.
OLD_PREFIX = "golem"
#: Messages in hand of 0.1 and their index: kombu's default names, which other Celery apps on the database may use. The
#: queues of 0.1 and 0.2 were lists with the bare names of the stages.
OLD_UNACKED, OLD_UNACKED_INDEX = "unacked", "unacked_index"
#: Messages that one command reads.
STEP = 100


@dataclass(frozen=True)
class Left:
    """What an older release left."""

    waiting: dict[str, int]  # stage -> messages in its old list; only those that have some
    in_hand: int = 0

    def __bool__(self) -> bool:
        return bool(self.waiting or self.in_hand)


def differs(server: str, found: str) -> WireDiffers:
    """Return the error for a system of another version. `server`: as shown to users."""
    remedy = f"use the release that wrote it (this one writes {WIRE})"
    if found.isdecimal() and int(found) < int(WIRE):
        remedy = "stop all workers and run golem upgrade, or use the release that wrote it"
    return WireDiffers(f"{server} holds a system of wire version {visible(found, 20)}, this is {WIRE}: {remedy}.")


def version(client: "Redis", keys: Keys) -> str | None:
    """Return the version of a system, None if none is set. Raises redis.RedisError."""
    found = cast("bytes | None", client.get(keys.wire))
    return None if found is None else found.decode(errors="replace")


def check(client: "Redis", keys: Keys, server: str) -> None:
    """Set the version of a system that has none. `server`: as shown to users. Raises WireDiffers if it has another, or
    if an older release has left messages or still runs; redis.RedisError."""
    found = version(client, keys)
    if found is None and keys.prefix == OLD_PREFIX:
        running, waiting = boxes(client, keys), bool(left(client, keys))
        found = version(client, keys)  # a worker that started meanwhile has set it before it took its name
        if found is None and running:
            raise WireDiffers(
                f"{server} holds a running worker of an older release ({visible(running[0], 80)}): "
                "stop all workers and run golem upgrade."
            )
        if found is None and waiting:
            raise WireDiffers(f"{server} holds messages of an older release: stop all workers and run golem upgrade.")
    if found is None:
        client.set(keys.wire, WIRE, nx=True)
        found = version(client, keys)
    if found is not None and found != WIRE:
        raise differs(server, found)


def boxes(client: "Redis", keys: Keys) -> list[str]:
    """Return the node names of the live workers of any version. Raises redis.RedisError."""
    names = cast("Iterator[bytes]", client.scan_iter(match=f"{keys.box_prefix}*", count=1000))
    return sorted(name.decode(errors="replace").removeprefix(keys.box_prefix) for name in names)


def left(client: "Redis", keys: Keys) -> Left:
    """Return what 0.1 and 0.2 left to this system. Raises redis.RedisError."""
    if keys.prefix != OLD_PREFIX:
        return Left({})
    counts = {stage: sum(is_ours(raw, stage) for raw in _waiting(client, stage)) for stage in STAGES}
    return Left({stage: count for stage, count in counts.items() if count}, len(held(client, keys)))


def held(client: "Redis", keys: Keys) -> list[tuple[str, bytes]]:
    """Return key of the hash and tag of the messages that workers of 0.1 and 0.2 had in hand, the latest sent first.
    Raises redis.RedisError."""
    found: list[tuple[float, str, bytes]] = []
    holders = set(client.hkeys(keys.holders))
    for key in (OLD_UNACKED, keys.unacked):
        if client.type(key) != b"hash":
            continue
        for tag, entry in client.hscan_iter(key, count=STEP):
            message, stage = _entry(entry)
            ours = key == keys.unacked or tag in holders or is_ours(message, stage)
            if entry.startswith(b"[") and ours:  # today's begin with the name of a queue
                found.append((_sent_at(message), key, tag))
    return [(key, tag) for _, key, tag in sorted(found, reverse=True)]


def is_ours(message: Any, stage: str) -> bool:
    """Return whether a message of a list, which another app may use too, is one of this stage."""
    parsed = message if isinstance(message, dict) else _parsed(message)
    headers = parsed.get("headers") if isinstance(parsed, dict) else None
    return stage in STAGES and isinstance(headers, dict) and headers.get("task") == task_name(stage)


def _waiting(client: "Redis", name: str) -> Iterator[bytes]:
    """Yield the messages of a list, newest first."""
    at = 0
    while client.type(name) == b"list" and (part := client.lrange(name, at, at + STEP - 1)):
        yield from cast("list[bytes]", part)
        at += STEP


def _entry(text: bytes) -> tuple[Any, str]:
    """Return message and queue of kombu's `[message, exchange, queue]`."""
    entry = _parsed(text)
    if not isinstance(entry, list) or len(entry) != 3:
        return None, ""
    return entry[0], str(entry[2])


def _sent_at(message: Any) -> float:
    headers = message.get("headers") if isinstance(message, dict) else None
    at = headers.get("sent_at") if isinstance(headers, dict) else None
    return float(at) if isinstance(at, int | float) else 0.0


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
