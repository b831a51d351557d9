"""A snapshot of the running system, read from Redis: queues, boxes and their models, dead letters, leases."""

import json
from typing import TYPE_CHECKING, cast

from golem_chain.broker.connection import check_broker, connect_once, reaching
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import leases
from golem_chain.broker.queues import LANES, STAGES
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings

if TYPE_CHECKING:
    import redis

#: Internal fields of a box: its claim on the node name.
CLAIM = {"token", "host", "pid"}


def read(settings: Settings) -> JsonObject:
    """Return the snapshot as plain JSON types.

    `queues`: for each stage `waiting` (messages) and `oldest_s` (age of the next one, seconds; null if none waits) of
    both lanes together, and the same of each in `lanes`; `in_hand`: messages in hand; `boxes`: by node name the fields
    that each reports, and its `in_hand`; `dead`: number of dead letters; `leases`: see `broker.monitoring.leases.read`.
    Raises BrokerAway if Redis fails.
    """
    check_broker(settings)
    keys = Keys(settings.prefix)
    given = {"decode_responses": True, "encoding_errors": "replace"}  # messages may hold arbitrary bytes
    with reaching(settings), connect_once(settings, socket_timeout=10, **given) as client:
        now, queues = _queues(client, keys)
        unacked = set(client.hkeys(keys.unacked))
        holders = {tag: box for tag, box in client.hgetall(keys.holders).items() if tag in unacked}
        boxes = read_boxes(client, now, keys)
        dead = client.llen(keys.dead)
        working = leases.read(client, now, keys)
    for holder in holders.values():
        boxes.setdefault(holder, {})
    for name, told in boxes.items():
        told["in_hand"] = sum(holder == name for holder in holders.values())
    return {"queues": queues, "in_hand": len(unacked), "boxes": boxes, "dead": dead, "leases": working}


def _queues(client: "redis.Redis", keys: Keys) -> tuple[float, JsonObject]:
    """Return the server's time (Unix seconds), and for each stage what waits."""
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        for stage in STAGES:
            for lane in LANES:
                pipe.llen(keys.lane(stage, lane))
                pipe.lindex(keys.lane(stage, lane), -1)
        (seconds, micros), *seen = pipe.execute()
    now = seconds + micros / 1e6
    rows = [{"waiting": depth, "oldest_s": _age_s(raw, now)} for depth, raw in zip(seen[::2], seen[1::2], strict=True)]
    lanes = [dict(zip(LANES, part, strict=True)) for part in zip(*(iter(rows),) * len(LANES), strict=True)]
    return now, {stage: _together(one) | {"lanes": one} for stage, one in zip(STAGES, lanes, strict=True)}


def _together(lanes: JsonObject) -> JsonObject:
    """Return the messages of all lanes, and the age of the oldest one."""
    ages = [lane["oldest_s"] for lane in lanes.values() if lane["oldest_s"] is not None]
    return {"waiting": sum(lane["waiting"] for lane in lanes.values()), "oldest_s": max(ages, default=None)}


def _age_s(raw: str | None, now: float) -> float | None:
    """Return the age of an untrusted message, None if there is none or it does not tell."""
    try:
        sent = json.loads(raw or "{}")["headers"]["sent_at"]
        return round(max(0.0, now - sent), 1) if isinstance(sent, int | float) and sent > 0 else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def read_boxes(client: "redis.Redis", now: float, keys: Keys, most: int = 0) -> dict[str, JsonObject]:
    """Return what each box reports (see `of_box`), by node name in alphabetical order: the `most` that renewed their
    names last, 0 for all. `client` must decode replies."""
    names = sorted(cast("list[str]", client.zrange(keys.boxes, -most, -1)))
    with client.pipeline(transaction=False) as pipe:
        for node in names:
            pipe.hgetall(keys.box(node))
        return {node: of_box(fields, now) for node, fields in zip(names, pipe.execute(), strict=True) if fields}


def of_box(fields: dict[str, str], now: float) -> JsonObject:
    """Return the public fields of a box's hash, parsed where they are JSON, and `last_event_age_s` at `now` (Unix
    seconds)."""
    told: JsonObject = {}
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
