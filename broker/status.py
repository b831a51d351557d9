"""What the running system looks like: queues, boxes, what each holds, dead letters; read from Redis alone."""

import json
from typing import TYPE_CHECKING, Any

from golem_chain.broker import keys, leases, scripts
from golem_chain.broker.app import check_broker, connect
from golem_chain.broker.connection import reaching
from golem_chain.broker.queues import STAGES
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

#: Fields of a box that are its claim on its name, and nobody else's concern.
CLAIM = {"token", "host", "pid"}


def read(settings: Settings) -> dict[str, Any]:
    """The state as plain JSON types.

    `queues`: for each stage `waiting` (messages) and `oldest_s` (age of the next one, seconds; null when none waits);
    `in_hand`: messages that a box works on; `boxes`: by node name what each tells of itself, and its `in_hand`;
    `dead`: dead letters; `leases`: see `broker.leases.read`. Raises BrokerAway.
    """
    check_broker(settings)
    given = {"decode_responses": True, "encoding_errors": "replace"}  # whatever a stranger wrote
    with reaching(settings), connect(settings, socket_timeout=10, **given) as client:
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


def tables(state: dict[str, Any]) -> "list[Table | Text]":
    """The state as two tables, queues and boxes, and a line on dead letters."""
    from rich import box as boxes
    from rich.table import Table
    from rich.text import Text

    queues = Table(box=boxes.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    queues.add_column("queue")
    queues.add_column("waiting", justify="right")
    queues.add_column("oldest", justify="right")
    for stage, queue in state["queues"].items():
        oldest = queue["oldest_s"]
        queues.add_row(stage, str(queue["waiting"]), "–" if oldest is None else f"{oldest:.0f} s")
    live = Table(box=boxes.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in ("worker", "in hand", "holds", "memory", "peak", "loads", "last event", "device"):
        live.add_column(column, justify="right" if column in ("in hand", "loads") else "left", overflow="fold")
    for name, told in state["boxes"].items():
        cells = [visible(name, 40), str(told["in_hand"]), holds(told), memory(told), peak(told)]
        cells += [str(told.get("loads", "–")), last_event(told), str(told.get("device") or "–")]
        live.add_row(*(Text(visible(cell)) for cell in cells))
    dead = f"dead letters: {state['dead']}" + (" (golem dead list)" if state["dead"] else "")
    working = [leases.table(state["leases"])] if state.get("leases") else []
    return [queues, *working, live if state["boxes"] else Text("No worker is running."), Text(dead)]


def holds(told: dict[str, Any]) -> str:
    """The stages whose model is in that box's memory, with the names of the models where they are told."""
    resident, models = told.get("resident") or [], told.get("models")
    if not isinstance(resident, list | dict):
        return str(resident) or "–"
    named = models if isinstance(models, dict) else {}
    names = {stage: str(named.get(stage) or "").partition("@")[0].rpartition("/")[2] for stage in resident}
    return ", ".join(f"{stage} ({name})" if name else str(stage) for stage, name in names.items()) or "–"


def memory(told: dict[str, Any]) -> str:
    """Bytes allocated, and what the budget is where there is one."""
    used, budget = told.get("allocated"), told.get("budget")
    if not isinstance(used, int):
        return "–"
    return format_bytes(used) + (f" of {format_bytes(budget)}" if isinstance(budget, int) else "")


def peak(told: dict[str, Any]) -> str:
    """The highest memory since the worker began."""
    highest = told.get("peak")
    return format_bytes(highest) if isinstance(highest, int) else "–"


def last_event(told: dict[str, Any]) -> str:
    """What was last loaded, unloaded or found no room, and how long ago."""
    event = told.get("last_event")
    if not isinstance(event, dict):
        return "–"
    age = told.get("last_event_age_s")
    when = f", {age:.0f} s ago" if isinstance(age, int | float) else ""
    return f"{event.get('kind')} {event.get('stage')}{when}"
