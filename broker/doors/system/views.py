"""What callers are shown of the system: pure functions and the schema of what they return.

Workers wrote what is read here. A field that has another type than it should is shown as absent.
"""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, Field

from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.text import visible

#: Most characters of a text that a worker wrote.
TEXT_MOST = 200


class LaneView(BaseModel):
    """What waits in a lane of a queue."""

    waiting: int = Field(description="Messages that wait")
    oldest_s: float | None = Field(description="Age of the next one, seconds; null if none waits")


class QueueView(LaneView):
    """What waits for a stage."""

    lanes: dict[str, LaneView] = Field(description="The same of each lane: `interactive` and `bulk`")


class BoxView(BaseModel):
    """What a worker reports of its device. What it does not know yet is null."""

    resident: list[str] = Field(description="Stages whose models are loaded")
    models: dict[str, str] = Field(description="Their checkpoints and the data types that they run in, by stage")
    device: str | None = Field(description="The device that holds them")
    allocated_bytes: int | None = Field(description="Memory that models and batches have allocated")
    reserved_bytes: int | None = Field(description="Memory that the allocator keeps")
    free_bytes: int | None = Field(description="Free memory of the device")
    peak_bytes: int | None = Field(description="Highest allocation since the worker started")
    budget_bytes: int | None = Field(description="Budget of the residency (GOLEM_MEMORY_BUDGET)")
    loads: int | None = Field(description="Loads since the worker started")
    loads_of: dict[str, int] = Field(description="The same by stage")
    unloads_of: dict[str, int] = Field(description="Unloads, likewise")
    ooms_of: dict[str, int] = Field(description="Times that a stage ran out of memory, likewise")
    switches: int | None = Field(description="Loads that were preceded by an unload of another model")
    queues: list[str] = Field(description="Stages that the worker serves")
    in_hand: int = Field(description="Messages that it has taken and not finished")
    last_event: dict[str, Any] | None = Field(description="Its last load, unload or out-of-memory")
    last_event_age_s: float | None = Field(description="How long ago that was, seconds")


class SystemView(BaseModel):
    """The running system."""

    now_at: float = Field(description="The Redis server's clock, Unix seconds")
    queues: dict[str, QueueView] = Field(description="By stage")
    in_hand: int = Field(description="Messages in the hands of workers")
    boxes: dict[str, BoxView] = Field(description="By the names of the workers")
    dead: int | None = Field(description="Number of dead letters; null unless the key is an operator's")


def system(seen: JsonObject, operator: bool) -> JsonObject:
    """Return a SystemView as JSON, from an overview (see `broker.monitoring.status.overview`)."""
    boxes = {visible(name, TEXT_MOST): box(told) for name, told in seen["boxes"].items()}
    shared = {key: seen[key] for key in ("now_at", "queues", "in_hand")}
    return {**shared, "boxes": boxes, "dead": seen["dead"] if operator else None}


def box(told: JsonObject) -> JsonObject:
    """Return a BoxView as JSON, from what a worker reports (see `broker.monitoring.status.of_box`)."""
    last = told.get("last_event")
    return {
        "resident": texts(told.get("resident")),
        "models": _by_name(told.get("models"), str),
        "device": text(told.get("device")),
        **{f"{name}_bytes": whole(told.get(name)) for name in ("allocated", "reserved", "free", "peak", "budget")},
        "loads": whole(told.get("loads")),
        "loads_of": _by_name(told.get("loads_of"), int),
        "unloads_of": _by_name(told.get("unloads_of"), int),
        "ooms_of": _by_name(told.get("ooms_of"), int),
        "switches": whole(told.get("switches")),
        "queues": texts(told.get("queues")),
        "in_hand": told.get("in_hand", 0),
        "last_event": last if isinstance(last, dict) else None,
        "last_event_age_s": number(told.get("last_event_age_s")),
    }


def event(told: JsonObject, own: Collection[str]) -> JsonObject:
    """Return an event of the timeline as a caller sees it: of a batch's jobs, those that are the caller's own."""
    if told.get("kind") != "batch":
        return told
    waits = [wait for wait in _list(told.get("queued_s")) if number(wait) is not None]
    mean_s = round(sum(waits) / len(waits), 4) if waits else None
    shown = {key: value for key, value in told.items() if key != "queued_s"}
    shown |= {"queued_mean_s": mean_s, "queued_max_s": max(waits, default=None)}
    return shown | {"jobs": [job for job in texts(told.get("jobs")) if job in own]}


def whole(value: object) -> int | None:
    """Return a number without its fraction; None if it is none."""
    found = number(value)
    return None if found is None else int(found)


def number(value: object) -> float | None:
    """Return a finite number, None if it is none."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18
    return value if fits else None  # type: ignore[return-value]


def text(value: object) -> str | None:
    """Return a short printable text, None if it is none."""
    return visible(value, TEXT_MOST) if isinstance(value, str) else None


def texts(value: object) -> list[str]:
    """Return the texts of a list."""
    return [visible(one, TEXT_MOST) for one in _list(value) if isinstance(one, str)]


def _by_name(value: object, kind: type) -> JsonObject:
    items = value.items() if isinstance(value, Mapping) else ()
    return {visible(str(name), TEXT_MOST): one for name, one in items if isinstance(one, kind)}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
