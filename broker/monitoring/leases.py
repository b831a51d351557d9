"""The leases of messages in hand, as `golem status` shows them."""

import json
from typing import TYPE_CHECKING, cast

from golem_chain.broker.keys import Keys
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from redis import Redis

#: Maximum number of leases to read, oldest first.
MOST = 1000


def read(client: "Redis", now: float, keys: Keys) -> list[JsonObject]:
    """Return messages in hand, oldest lease first, at most 1000: `task` (`<job>.<stage>`), `box`, `deliveries`, and
    `renewed_s`, seconds since the lease was renewed. `client` must decode replies; `now` is the server's time."""
    found = client.zrange(keys.unacked_index, 0, MOST - 1, withscores=True)
    tags = cast("list[tuple[str, float]]", found)
    if not tags:
        return []
    names = [tag for tag, _ in tags]
    with client.pipeline(transaction=False) as pipe:
        for key in (keys.unacked, keys.holders, keys.deliveries):
            pipe.hmget(key, names)
        messages, boxes, deliveries = pipe.execute()
    return [
        {
            "task": _task(message),
            "box": box,
            "deliveries": int(count) if count else None,
            "renewed_s": round(max(0.0, now - renewed), 1),
        }
        for (_, renewed), message, box, count in zip(tags, messages, boxes, deliveries, strict=True)
        if message
    ]


def _task(entry: str) -> str:
    try:
        return visible(str(json.loads(entry.partition(" ")[2])["headers"]["id"]), 80)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "?"
