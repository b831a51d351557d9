"""What the running system looks like: queues, boxes, what each holds, dead letters; read from Redis alone."""

import json
from typing import TYPE_CHECKING, Any

from golem_chain.broker import keys
from golem_chain.broker.connection import check_broker, connect_once, reaching
from golem_chain.broker.monitoring import leases
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import scripts
from golem_chain.shared.settings import Settings

if TYPE_CHECKING:
    pass

#: Fields of a box that are its claim on its name, and nobody else's concern.
CLAIM = {"token", "host", "pid"}


def read(settings: Settings) -> dict[str, Any]:
    """The state as plain JSON types.

    `queues`: for each stage `waiting` (messages) and `oldest_s` (age of the next one, seconds; null when none waits);
    `in_hand`: messages that a box works on; `boxes`: by node name what each tells of itself, and its `in_hand`;
    `dead`: dead letters; `leases`: see `broker.monitoring.leases.read`. Raises BrokerAway.
    """
    check_broker(settings)
    given = {"decode_responses": True, "encoding_errors": "replace"}  # whatever a stranger wrote
    with reaching(settings), connect_once(settings, socket_timeout=10, **given) as client:
        now, *seen = client.eval_ro(scripts.PEEK, len(STAGES), *STAGES)
        unacked = set(client.hkeys(keys.UNACKED))
        holders = {tag: box for tag, box in client.hgetall(keys.HOLDERS).items() if tag in unacked}
        found = sorted(client.scan_iter(keys.box("*")))
        boxes = {key.removeprefix(keys.BOX_PREFIX): of_box(client.hgetall(key), float(now)) for key in found}
        dead = client.llen(keys.DEAD)
        working = leases.read(client, float(now))
    for holder in holders.values():
        boxes.setdefault(holder, {})
    for name, told in boxes.items():
        told["in_hand"] = sum(holder == name for holder in holders.values())
    queues = {
        stage: {"waiting": int(seen[2 * i]), "oldest_s": round(float(now) - float(sent), 1) if sent else None}
        for i, stage in enumerate(STAGES)
        for sent in [seen[2 * i + 1]]
    }
    return {"queues": queues, "in_hand": len(unacked), "boxes": boxes, "dead": dead, "leases": working}


def of_box(fields: dict[str, str], now: float) -> dict[str, Any]:
    """What a box tells of itself: its hash, fields that are JSON read as such, and `last_event_age_s` at `now` (Unix
    seconds)."""
    told: dict[str, Any] = {}
    for key in fields.keys() - CLAIM:
        value = fields[key]
        try:
            told[key] = json.loads(value)
        except ValueError:
            told[key] = value
    last = told.get("last_event")
    if isinstance(last, dict) and isinstance(last.get("at"), int | float):
        told["last_event_age_s"] = round(max(0.0, now - last["at"]), 1)
    return told
