"""The timeline: writes loads, unloads, out-of-memories and batches to a stream, and reads them back.

<prefix>:events   one entry per event, newest last, about EVENTS_KEPT; written by workers, read by `golem timeline`
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from golem_chain.broker.keys import Keys
from golem_chain.shared.durations import parse_duration
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.json_object import JsonObject

EVENTS_KEPT = 20_000


@dataclass(frozen=True)
class BatchSpan:
    """The time that one batch took."""

    stage: str
    start: float  # Unix seconds
    end: float
    size: int
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """The moment of a load, an unload or an out-of-memory."""

    kind: str
    stage: str
    at: float
    reason: str


@dataclass
class Lane:
    """The events of one box over time."""

    box: str
    spans: list[BatchSpan] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # (Unix seconds, allocated bytes)
    peaks: list[tuple[float, float, int]] = field(default_factory=list)  # (start, end, highest bytes) of a batch
    budget: int = 0


def tell(client: redis.Redis, box: str, event: JsonObject, keys: Keys) -> None:
    """Append an event of a box. Raises redis.RedisError if Redis fails."""
    client.xadd(keys.events, {"event": json.dumps(event | {"box": box})}, maxlen=EVENTS_KEPT, approximate=True)


def read(client: redis.Redis, since: float, keys: Keys) -> list[JsonObject]:
    """Return the events since a time (Unix seconds), oldest first. Raises redis.RedisError if Redis fails."""
    found: Any = client.xrange(keys.events, min=str(int(since * 1000)))
    return [json.loads(fields[b"event"] if b"event" in fields else fields["event"]) for _, fields in found]


def parse_last(text: str) -> float:
    """Parse a duration such as `10m`, `90s`, `2h` into seconds. Raises BadRequest if it is malformed."""
    return parse_duration(text, "--last")


def window(events: Iterable[JsonObject], jobs: Sequence[str]) -> tuple[float, float]:
    """Return start and end of the time in which these jobs ran. Raises BadRequest if no event names them."""
    wanted = set(jobs)
    spans = [
        (event["at"] - event["seconds"], event["at"])
        for event in events
        if event["kind"] == "batch" and wanted & set(event["jobs"])
    ]
    if not spans:
        raise BadRequest(
            f"The timeline has no events of {', '.join(sorted(wanted))}: the job is unknown, still queued or too old."
        )
    return min(start for start, _ in spans), max(end for _, end in spans)


def lanes(events: Iterable[JsonObject], start: float, end: float) -> list[Lane]:
    """Return the events between two times as one lane per box, sorted by name."""
    found: dict[str, Lane] = {}
    for event in sorted(events, key=lambda event: event["at"]):
        began, at = event["at"] - event["seconds"], event["at"]
        if at < start or began > end:
            continue
        lane = found.setdefault(event["box"], Lane(event["box"]))
        lane.memory += [(began, event["allocated_before"]), (at, event["allocated"])]
        lane.budget = event.get("budget", lane.budget)
        if event["kind"] == "batch":
            lane.spans.append(BatchSpan(event["stage"], began, at, event["size"], tuple(event["jobs"])))
            lane.peaks.append((began, at, event["peak"]))
        else:
            lane.marks.append(Mark(event["kind"], event["stage"], at, event["reason"]))
    for lane in found.values():
        lane.memory.sort(key=lambda point: point[0])  # a batch is written at its end, after its loads

    return [found[box] for box in sorted(found)]
