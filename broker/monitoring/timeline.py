"""What the boxes did and when: the stream of loads, unloads, out-of-memories and batches, read back as a timeline.

golem:events   one entry each, newest last, at most EVENTS_KEPT; written by the boxes, read by `golem timeline`
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from golem_chain.broker import keys
from golem_chain.shared.errors import BadRequest

EVENTS_KEPT = 20_000

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}


@dataclass(frozen=True)
class BatchSpan:
    """A batch: one stage at work."""

    stage: str
    start: float  # Unix seconds
    end: float
    size: int
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A load, an unload or an out-of-memory."""

    kind: str
    stage: str
    at: float
    reason: str


@dataclass
class Lane:
    """One box over time."""

    box: str
    spans: list[BatchSpan] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # (Unix seconds, allocated bytes)
    peaks: list[tuple[float, float, int]] = field(default_factory=list)  # (start, end, highest bytes) of a batch
    budget: int = 0


def tell(client: redis.Redis, box: str, event: dict[str, Any]) -> None:
    """Append an event of a box. Raises redis.RedisError."""
    client.xadd(keys.EVENTS, {"event": json.dumps(event | {"box": box})}, maxlen=EVENTS_KEPT, approximate=True)


def read(client: redis.Redis, since: float) -> list[dict[str, Any]]:
    """The events from a moment on (Unix seconds), oldest first. Raises redis.RedisError."""
    found: Any = client.xrange(keys.EVENTS, min=str(int(since * 1000)))
    return [json.loads(fields[b"event"] if b"event" in fields else fields["event"]) for _, fields in found]


def parse_last(text: str) -> float:
    """Seconds of `10m`, `90s`, `2h`. Raises BadRequest."""
    parts = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)\s*", text)
    if not parts or float(parts[1]) <= 0:
        raise BadRequest(f"--last {text!r} is not a length of time: write it as in 90s, 10m or 2h.")
    return float(parts[1]) * _UNITS_S[parts[2]]


def window(events: Iterable[dict[str, Any]], jobs: Sequence[str]) -> tuple[float, float]:
    """From the first to the last moment at which one of the jobs was worked on. Raises BadRequest for none."""
    wanted = set(jobs)
    spans = [
        (event["at"] - event["seconds"], event["at"])
        for event in events
        if event["kind"] == "batch" and wanted & set(event["jobs"])
    ]
    if not spans:
        raise BadRequest(f"No box has told of {', '.join(sorted(wanted))}: the job is unknown, queued or too long ago.")
    return min(start for start, _ in spans), max(end for _, end in spans)


def lanes(events: Iterable[dict[str, Any]], start: float, end: float) -> list[Lane]:
    """The events between two moments as one lane for each box, in the order of their names."""
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
        lane.memory.sort(key=lambda point: point[0])  # a batch is told at its end, after the loads within it
    return [found[box] for box in sorted(found)]
