"""Prints jobs and the state of the system as tables and totals."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from golem_chain.broker.cli.console import console, line, say
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Lane, Outcome
from golem_chain.shared.sizes import format_bytes
from golem_chain.shared.text import storable, visible

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

#: A shorter wait does not count as a load, seconds.
LOAD_S = 0.002
#: Rows in the table of leases; `--json` has all leases that were read.
LEASES_SHOWN = 10


def cells(outcome: Outcome) -> tuple[str, str, str, str, str]:
    """Return a job's row: file, transcript, intent with its score, reply, seconds from submit to end."""
    seconds = sum(run.queued_s + run.load_s + run.compute_s for run in outcome.stages.values())
    words = outcome.transcript.text if outcome.transcript else ""
    if words and outcome.transcript and outcome.transcript.choice and outcome.transcript.choice.phrase == "unknown":
        words += " (unknown)"  # no phrase of the vocabulary
    if outcome.state != "done":
        why = outcome.error.message if outcome.error else outcome.state
        return outcome.name, words, outcome.state, why, f"{seconds:.1f}" if outcome.stages else ""
    intent = f"{outcome.intent.label} {outcome.intent.score:.2f}" if outcome.intent else ""
    none = "–" if outcome.intent and outcome.intent.method == "silence" else ""  # a reply that was not wanted
    reply = outcome.reply.text if outcome.reply else none
    return outcome.name, words or "(silence)", intent, reply, f"{seconds:.1f}"


def of_jobs(outcomes: Sequence[Outcome], width: int) -> "Table":
    """Return the table of results in the order of the arguments, without the columns of intent and reply if no job has
    one. Below 80 columns each job takes several lines."""
    from rich.table import Table

    narrow = width < 80
    grid = Table(
        box=None if narrow else _box(),
        padding=(0, 1),
        pad_edge=False,
        expand=not narrow,
        show_header=not narrow,
        header_style="bold",
    )
    if narrow:
        grid.add_column("")
        for outcome in outcomes:
            file, words, intent, reply, seconds = cells(outcome)
            grid.add_row(_text(file, width - 10, "bold") + _text(f"  {seconds} s" if seconds else "", None, "dim"))
            if words:
                grid.add_row(_text(words))
            if intent or reply:
                grid.add_row(_text(intent, None, _colour(outcome)) + _text(f"  {reply}"))
            grid.add_row("")
        return grid
    rows = [cells(one) for one in outcomes]
    longest = [max((len(visible(row[place])) for row in rows), default=4) for place in range(5)]
    shown = [place for place in range(5) if place not in (2, 3) or longest[place] or not rows]
    columns: list[tuple[str, dict[str, Any]]] = [
        ("file", {"width": min(longest[0], width // 4), "no_wrap": True}),
        ("words", {"ratio": 3}),
        ("intent", {"width": max(6, min(longest[2], width // 5))}),
        ("reply", {"ratio": 4}),
        ("s", {"justify": "right", "no_wrap": True, "min_width": 4}),
    ]
    for place in shown:
        grid.add_column(columns[place][0], **columns[place][1])
    for outcome, (file, words, intent, reply, seconds) in zip(outcomes, rows, strict=True):
        row = [
            _text(file, width // 4, "cyan"),
            _text(words, None, "dim" if words == "(silence)" else ""),
            _text(intent, None, _colour(outcome)),
            _text(reply, None, "red" if outcome.state == "failed" else ""),
            _text(seconds, None, "dim"),
        ]
        grid.add_row(*(row[place] for place in shown))
    return grid


def why(outcome: Outcome) -> str:
    """Return the error sentence of a job that did not end as done."""
    message = outcome.error.message if outcome.error else outcome.state
    return message if outcome.name in message else f"{outcome.name}: {message}"


def totals(outcomes: Sequence[Outcome], wall_s: float) -> str:
    """Return the line below the table: jobs, wall time, model loads, peak memory."""
    failed = sum(outcome.state != "done" for outcome in outcomes)
    runs = [(stage, run) for outcome in outcomes for stage, run in outcome.stages.items()]
    # The jobs of a batch share a load, which (worker, stage, seconds) identifies. With a resident model it is 0.1 ms.
    loads = len({(run.worker, stage, run.load_s) for stage, run in runs if run.load_s > LOAD_S})
    peak = max((run.peak_bytes for _, run in runs), default=0)
    devices = ", ".join(sorted({run.device for _, run in runs}))
    parts = [
        _count(len(outcomes), "job") + (f" ({failed} not done)" if failed else ""),
        f"{wall_s:.1f} s",
        _count(loads, "model load"),
    ]
    if peak:
        parts.append(f"peak memory {format_bytes(peak)} on {devices}")
    return " · ".join(parts)


def outcomes(ended: Sequence[Outcome], *, as_json: bool) -> None:
    """Print Outcomes as JSON lines or as a table."""
    if as_json:
        for outcome in ended:
            line(outcome.model_dump(mode="json"))
    elif ended:
        out = console(stderr=False)
        out.print(of_jobs(ended, out.width))


def submitted(job: str, file: str, failed: Outcome | None, *, as_json: bool) -> None:
    """Print the id of a submitted job (on a terminal with its file), or why it was not submitted."""
    if failed:
        if as_json:
            line(failed.model_dump(mode="json"))
        say(why(failed))
    elif as_json:
        line({"job": job, "name": storable(file)})
    else:
        sys.stdout.write(f"{job}  {visible(file)}\n" if sys.stdout.isatty() else f"{job}\n")
        sys.stdout.flush()


def _text(text: str, most: int | None = None, style: str | None = "") -> "Text":
    from rich.text import Text

    return Text(visible(text, most), style=style or "", overflow="fold")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _colour(outcome: Outcome) -> str:
    if outcome.state != "done":
        return "red"
    quiet = outcome.intent is None or outcome.intent.label in ("noise", "unknown")
    return "yellow" if quiet else "green"


def _box() -> Any:
    from rich import box

    return box.SIMPLE_HEAD


# -- the system


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
    return [queues, *working, live if state["boxes"] else Text("No worker is running."), Text(dead)]


def _waiting(lane: JsonObject) -> tuple[str, str]:
    oldest = lane["oldest_s"]
    return str(lane["waiting"]), "–" if oldest is None else f"{oldest:.0f} s"


def holds(told: JsonObject) -> str:
    """Return a box's resident stages, with the names of the models if reported."""
    resident, models = told.get("resident") or [], told.get("models")
    if not isinstance(resident, list | dict):
        return str(resident) or "–"
    named = models if isinstance(models, dict) else {}
    names = {stage: str(named.get(stage) or "").partition("@")[0].rpartition("/")[2] for stage in resident}
    return ", ".join(f"{stage} ({name})" if name else str(stage) for stage, name in names.items()) or "–"


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
