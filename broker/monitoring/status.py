"""A snapshot of the running system, read from Redis: queues, boxes and their models, dead letters, leases."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from golem_chain.broker.connection import check_broker, connect_once, reaching
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import leases
from golem_chain.broker.queues import LANES, STAGES
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings

if TYPE_CHECKING:
    import redis

#: Options of a client that decodes replies: messages may hold arbitrary bytes.
TEXT: Mapping[str, Any] = {"decode_responses": True, "encoding_errors": "replace"}
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
    with reaching(settings), connect_once(settings, socket_timeout=10, **TEXT) as client:
        seen = overview(client, keys)
        now = seen.pop("now_at")
        return seen | {"leases": leases.read(client, now, keys)}


def overview(client: "redis.Redis", keys: Keys, boxes_most: int = 0) -> JsonObject:
    """Return what `read` does, without `leases`, and `now_at`, the server's time (Unix seconds): two round trips, whose
    commands depend on the number of boxes only. `client` must decode replies. Of more than `boxes_most` boxes, those
    that renewed their names last are read, 0 for all. Raises redis.RedisError if Redis fails."""
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hkeys(keys.unacked)
        pipe.hgetall(keys.holders)
        pipe.llen(keys.dead)
        pipe.zrange(keys.boxes, -boxes_most, -1)
        for stage in STAGES:
            for lane in LANES:
                pipe.llen(keys.lane(stage, lane))
                pipe.lindex(keys.lane(stage, lane), -1)
        (seconds, micros), tags, holders, dead, names, *lanes = pipe.execute()
    now, unacked = seconds + micros / 1e6, set(tags)
    holding = Counter(box for tag, box in holders.items() if tag in unacked)
    boxes = _boxes(client, now, keys, sorted(names))
    for name in holding.keys() - boxes.keys() if not boxes_most else ():
        boxes[name] = {}  # it has gone, and its messages are requeued soon
    for name, told in boxes.items():
        told["in_hand"] = holding[name]
    return {"now_at": now, "queues": _queues(lanes, now), "in_hand": len(unacked), "boxes": boxes, "dead": dead}


def _queues(seen: list[Any], now: float) -> JsonObject:
    """Return for each stage what waits, from the length and the next message of each lane."""
    rows = [{"waiting": depth, "oldest_s": _age_s(raw, now)} for depth, raw in zip(seen[::2], seen[1::2], strict=True)]
    lanes = [dict(zip(LANES, part, strict=True)) for part in zip(*(iter(rows),) * len(LANES), strict=True)]
    return {stage: _together(one) | {"lanes": one} for stage, one in zip(STAGES, lanes, strict=True)}


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
    return _boxes(client, now, keys, sorted(cast("list[str]", client.zrange(keys.boxes, -most, -1))))


def _boxes(client: "redis.Redis", now: float, keys: Keys, names: list[str]) -> dict[str, JsonObject]:
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
