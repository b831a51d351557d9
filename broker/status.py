"""What the running system looks like: queues, boxes, what each holds, dead letters; read from Redis alone."""

import json
from typing import TYPE_CHECKING, Any

from broker import leases, scripts
from broker.app import check_broker, connect
from broker.queues import STAGES
from shared.settings import Settings
from shared.sizes import format_bytes
from shared.text import visible

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

BOX = "golem:box:"
#: Fields of a box that are its claim on its name, and nobody else's concern.
CLAIM = {"token", "host", "pid"}


def read(settings: Settings) -> dict[str, Any]:
    """The state as plain JSON types.

    `queues`: for each stage `waiting` (messages) and `oldest_s` (age of the next one, seconds; null when none waits);
    `in_hand`: messages that a box works on; `boxes`: by node name what each tells of itself, and its `in_hand`;
    `dead`: dead letters; `leases`: see `broker.leases.read`. Raises BrokerAway.
    """
    check_broker(settings)
    with connect(settings, socket_timeout=10, decode_responses=True) as client:
        now, *seen = client.eval(scripts.PEEK, len(STAGES), *STAGES)
        unacked = set(client.hkeys(scripts.UNACKED))
        holders = {tag: box for tag, box in client.hgetall(scripts.HOLDERS).items() if tag in unacked}
        boxes = {key.removeprefix(BOX): _told(client.hgetall(key)) for key in sorted(client.scan_iter(f"{BOX}*"))}
        dead = client.llen(scripts.DEAD)
        working = leases.read(client, float(now))
    for box in holders.values():
        boxes.setdefault(box, {})
    for name, told in boxes.items():
        told["in_hand"] = sum(box == name for box in holders.values())
    queues = {
        stage: {"waiting": int(seen[2 * i]), "oldest_s": round(float(now) - float(sent), 1) if sent else None}
        for i, stage in enumerate(STAGES)
        for sent in [seen[2 * i + 1]]
    }
    return {"queues": queues, "in_hand": len(unacked), "boxes": boxes, "dead": dead, "leases": working}


def _told(fields: dict[str, str]) -> dict[str, Any]:
    """A hash's fields; those that are JSON are read as such."""
    told: dict[str, Any] = {}
    for key in fields.keys() - CLAIM:
        value = fields[key]
        try:
            told[key] = json.loads(value)
        except ValueError:
            told[key] = value
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
    for column in ("worker", "in hand", "holds", "memory", "device"):
        live.add_column(column, justify="right" if column == "in hand" else "left", overflow="fold")
    for name, told in state["boxes"].items():
        cells = [visible(name, 40), str(told["in_hand"]), holds(told), memory(told), str(told.get("device") or "–")]
        live.add_row(*(Text(visible(cell)) for cell in cells))
    dead = f"dead letters: {state['dead']}" + (" (golem dead list)" if state["dead"] else "")
    working = [leases.table(state["leases"])] if state.get("leases") else []
    return [queues, *working, live if state["boxes"] else Text("No worker is running."), Text(dead)]


def holds(told: dict[str, Any]) -> str:
    """The stages whose model is in that box's memory."""
    resident = told.get("resident") or []
    return ", ".join(map(str, resident)) if isinstance(resident, list | dict) else str(resident) or "–"


def memory(told: dict[str, Any]) -> str:
    """Bytes allocated, and what the budget is where there is one."""
    used, budget = told.get("allocated"), told.get("budget")
    if not isinstance(used, int):
        return "–"
    return format_bytes(used) + (f" of {format_bytes(budget)}" if isinstance(budget, int) else "")
