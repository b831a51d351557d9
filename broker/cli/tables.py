"""Tables of the state of the system, of a group and of a submitter's jobs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from golem_chain.broker.cli.follow.report import counted
from golem_chain.broker.cli.follow.rows import COLOURS
from golem_chain.shared.durations import age
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Lane
from golem_chain.shared.sizes import format_bytes
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from golem_chain.broker.jobs.groups import GroupStatus
    from golem_chain.broker.jobs.listing import Listed

#: Rows in the table of leases; `--json` has all leases that were read.
LEASES_SHOWN = 10


def of_system(state: JsonObject) -> "list[Table | Text]":
    """Return the tables of queues and boxes, and a line about dead letters."""
    from rich import box as boxes
    from rich.table import Table
    from rich.text import Text

    queues = Table(box=boxes.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    queues.add_column("queue")
    lanes = get_args(Lane)
    for column in (column for lane in lanes for column in (lane, "oldest")):
        queues.add_column(column, justify="right")
    for stage, queue in state["queues"].items():
        queues.add_row(stage, *(cell for lane in lanes for cell in _waiting(queue["lanes"][lane])))
    live = Table(box=boxes.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in ("worker", "in hand", "holds", "memory", "peak", "loads", "last event", "device"):
        live.add_column(column, justify="right" if column in ("in hand", "loads") else "left", overflow="fold")
    for name, told in state["boxes"].items():
        cells = [visible(name, 40), str(told["in_hand"]), holds(told), memory(told), peak(told)]
        cells += [str(told.get("loads", "–")), last_event(told), str(told.get("device") or "–")]
        live.add_row(*(Text(visible(cell)) for cell in cells))
    dead = f"dead letters: {state['dead']}" + (" (golem dead list)" if state["dead"] else "")
    working = [of_leases(state["leases"])] if state.get("leases") else []
    differing = [Text(visible(line, 400)) for line in differences(state["boxes"])]
    return [queues, *working, live if state["boxes"] else Text("No worker is running."), *differing, Text(dead)]


def _waiting(lane: JsonObject) -> tuple[str, str]:
    oldest = lane["oldest_s"]
    return str(lane["waiting"]), "–" if oldest is None else f"{oldest:.0f} s"


def holds(told: JsonObject) -> str:
    """Return a box's resident stages, with the names of the models and the data types that they run in, if reported."""
    resident, models = told.get("resident") or [], told.get("models")
    if not isinstance(resident, list | dict):
        return str(resident) or "–"
    named = models if isinstance(models, dict) else {}
    names = {stage: _model(str(named.get(stage) or "")) for stage in resident}
    return ", ".join(f"{stage} ({name})" if name else str(stage) for stage, name in names.items()) or "–"


def _model(told: str) -> str:
    """`whisper-tiny.en, float32` of `openai/whisper-tiny.en@1a2b float32`."""
    checkpoint, _, rest = told.partition("@")
    return ", ".join(part for part in (checkpoint.rpartition("/")[2], rest.partition(" ")[2]) if part)


def differences(boxes: JsonObject) -> list[str]:
    """Return a line for each stage that runs in other data types on some boxes than on others: their answers may differ
    in a hair."""
    forms: dict[str, dict[str, list[str]]] = {}
    for name, told in boxes.items():
        known = told.get("precisions")
        for stage, form in (known if isinstance(known, dict) else {}).items():
            forms.setdefault(str(stage), {}).setdefault(str(form), []).append(str(name))
    return [
        f"The {stage} runs in " + ", ".join(f"{form} on {' and '.join(names)}" for form, names in found.items())
        for stage, found in forms.items()
        if len(found) > 1
    ]


def memory(told: JsonObject) -> str:
    """Return the allocated bytes, and the budget if there is one."""
    used, budget = told.get("allocated"), told.get("budget")
    if not isinstance(used, int):
        return "–"
    return format_bytes(used) + (f" of {format_bytes(budget)}" if isinstance(budget, int) else "")


def peak(told: JsonObject) -> str:
    """Return the peak memory since the worker started."""
    highest = told.get("peak")
    return format_bytes(highest) if isinstance(highest, int) else "–"


def last_event(told: JsonObject) -> str:
    """Return the last load, unload or out-of-memory, and its age."""
    event = told.get("last_event")
    if not isinstance(event, dict):
        return "–"
    age = told.get("last_event_age_s")
    when = f", {age:.0f} s ago" if isinstance(age, int | float) else ""
    return f"{event.get('kind')} {event.get('stage')}{when}"


def of_leases(leases: list[JsonObject]) -> "Table":
    """Return the table of the oldest leases."""
    from rich import box as boxes
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=boxes.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    grid.add_column("in hand", overflow="fold")
    grid.add_column("worker", overflow="fold")
    grid.add_column("delivery", justify="right")
    grid.add_column("lease renewed", justify="right")
    for lease in leases[:LEASES_SHOWN]:
        cells = [lease["task"], lease["box"] or "–", str(lease["deliveries"] or "–"), f"{lease['renewed_s']:.0f} s ago"]
        grid.add_row(*(Text(visible(cell, 80)) for cell in cells))
    if len(leases) > LEASES_SHOWN:
        grid.add_row(f"… and {len(leases) - LEASES_SHOWN} more", "", "", "")
    return grid


# -- jobs that were submitted


def of_listed(jobs: "Sequence[Listed]", now: float) -> "Table":
    """Return the list of a submitter's jobs. `now`: Unix seconds."""
    from rich import box as boxes
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=boxes.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in ("job", "name", "state", "stage"):
        grid.add_column(column, overflow="fold")
    grid.add_column("age", justify="right", no_wrap=True)
    for one in jobs:
        cells = [visible(one.job, 64), visible(one.name, 60)]
        state = Text(one.state, style=COLOURS.get(one.state, "green" if one.state == "done" else ""))
        grid.add_row(*map(Text, cells), state, one.at or "–", age(now - one.submitted_at))
    return grid


def of_group(name: str, status: "GroupStatus") -> "Table":
    """Return the counters of a group: how many jobs are at each stage, and how many have ended in each state."""
    from rich import box as boxes
    from rich.table import Table

    counts = dict(status.at)
    counts |= {state: getattr(status, state) for state in ("done", "failed", "cancelled", "expired")}
    title = f"{name}{' (cancelled)' if status.cancelled_at else ''}: {counted(status.jobs, 'job')}"
    grid = Table(
        title=title, title_justify="left", title_style="", box=boxes.SIMPLE_HEAD, padding=(0, 1), pad_edge=False
    )
    for column in counts:
        grid.add_column(column, justify="right")
    grid.add_row(*(f"{count:,}" for count in counts.values()))
    return grid
