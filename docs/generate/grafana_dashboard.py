"""Writes docs/grafana/golem-chain.json, the dashboard for Grafana 11 and later.

usage: make docs

Every door of a system tells the system's metrics, so that queries take the `max by` of them, never the `sum`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "grafana" / "golem-chain.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDE = 24  # columns of a dashboard

Json = dict[str, Any]


def query(expr: str, legend: str = "") -> Json:
    """A query of a panel."""
    return {"datasource": SOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend, "range": True}


def panel(kind: str, title: str, told: str, unit: str, *queries: Json, **given: Any) -> Json:
    """A panel; `unit` is one of Grafana's. `given`: width and height in columns and rows, `defaults`, `options`."""
    targets = [one | {"refId": chr(ord("A") + n)} for n, one in enumerate(queries)]
    size = {"w": given.get("width", 8), "h": given.get("height", 8)}
    defaults = {"unit": unit, "min": 0, **given.get("defaults", {})}
    return {
        "type": kind, "title": title, "description": told, "datasource": SOURCE, "targets": targets, "gridPos": size,
        "fieldConfig": {"defaults": defaults, "overrides": []}, "options": given.get("options", {}),
    }  # fmt: skip


def stat(title: str, told: str, unit: str, expr: str, *levels: tuple[float, str]) -> Json:
    """A number that takes the colour of the highest level that it reaches."""
    steps = [{"color": "green", "value": None}, *({"color": color, "value": value} for value, color in levels)]
    options = {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    defaults = {"thresholds": {"mode": "absolute", "steps": steps}}
    return panel("stat", title, told, unit, query(expr), width=3, height=4, defaults=defaults, options=options)


def series(title: str, told: str, unit: str, *queries: Json, stacked: bool = False, **given: Any) -> Json:
    """Lines over time."""
    custom: Json = {"lineWidth": 1, "fillOpacity": 30 if stacked else 8, "showPoints": "never"}
    custom |= {"stacking": {"mode": "normal" if stacked else "none"}}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, told, unit, *queries, defaults={"custom": custom}, options=options, **given)


def row(title: str, repeat: str | None = None) -> Json:
    """The head of a row of panels, repeated for each value of a variable."""
    made = {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": WIDE, "h": 1}}
    return made | ({"repeat": repeat} if repeat else {})


def quantile(share: float, metric: str, by: str = "stage") -> str:
    """The query of a quantile of a histogram."""
    rate = f"rate({metric}_bucket[$__rate_interval])"
    return f"histogram_quantile({share:g}, max by (le, {by}) ({rate}))"


def rate(metric: str, by: str) -> str:
    """The query of a rate per second."""
    return f"max by ({by}) (rate({metric}[$__rate_interval]))"


def glance() -> Iterator[Json]:
    """What an operator looks at first."""
    yield row("At a glance")
    yield stat("Redis", "1: every door reaches it.", "none", "min(golem_up)")
    yield stat("Workers", "Live workers.", "none", "max(golem_workers)")
    yield stat("Waiting", "Messages in all queues.", "none", "sum(max by (stage, lane) (golem_queue_waiting))")
    told = "Age of the oldest interactive message."
    oldest = 'max(golem_queue_oldest_seconds{lane="interactive"})'
    yield stat("Oldest interactive", told, "s", oldest, (10, "orange"), (60, "red"))
    told = "Messages that were given up: golem dead list."
    yield stat("Dead letters", told, "none", "max(golem_dead_letters)", (1, "orange"))
    told = "Webhooks that were given up: golem deliver --dead."
    yield stat("Dead webhooks", told, "none", "max(golem_webhooks_dead)", (1, "orange"))
    told = "Share of GOLEM_VAULT_LIMIT that is used; at 100 % submits wait."
    vault = "max(golem_vault_bytes) / max(golem_vault_limit_bytes)"
    yield stat("Vault", told, "percentunit", vault, (0.8, "orange"), (0.95, "red"))
    ooms = "sum(max by (box, stage) (increase(golem_box_ooms_total[1h])))"
    yield stat("Out of memory, 1 h", "Batches that did not fit.", "none", ooms, (1, "orange"), (20, "red"))


def queues() -> Iterator[Json]:
    """What waits, and how jobs end."""
    yield row("Queues")
    waiting = query("max by (stage, lane) (golem_queue_waiting)", "{{stage}} {{lane}}")
    told = "Messages by stage and lane, and those that workers have taken. A job has one message at a time."
    yield series("Waiting", told, "none", waiting, query("max(golem_in_hand)", "in hand"), stacked=True)
    oldest = query("max by (stage, lane) (golem_queue_oldest_seconds)", "{{stage}} {{lane}}")
    yield series("Age of the next message", "How long the message that is next has waited.", "s", oldest)
    ends = query(f"60 * {rate('golem_jobs_ended_total', 'state')}", "{{state}}")
    submitted = query("60 * max(rate(golem_jobs_submitted_total[$__rate_interval]))", "submitted")
    yield series(
        "Jobs per minute", "Jobs that were submitted, and those that ended, by state.", "none", ends, submitted
    )


def times() -> Iterator[Json]:
    """Where the time of a job goes."""
    yield row("Where the time goes")
    for title, told, metric in (
        ("Waiting", "How long jobs waited for a stage, in its queue and for others.", "golem_stage_waiting_seconds"),
        ("Load", "How long batches waited for their model; 0 where it was resident.", "golem_batch_load_seconds"),
        ("Compute", "How long batches computed.", "golem_batch_compute_seconds"),
    ):
        median, high = query(quantile(0.5, metric), "{{stage}} p50"), query(quantile(0.95, metric), "{{stage}} p95")
        yield series(f"{title}, p50 and p95", told, "s", median, high)
    size = f"{rate('golem_batch_jobs_sum', 'stage')} / {rate('golem_batch_jobs_count', 'stage')}"
    told = "Jobs of a batch, on average. One load serves all of them."
    yield series("Batch size", told, "none", query(size, "{{stage}}"))
    share = [
        query(rate(f"golem_batch_{kind}_seconds_sum", "stage"), f"{{{{stage}}}} {kind}") for kind in ("load", "compute")
    ]
    told = "Seconds of each second that all workers together spend loading and computing."
    yield series("Loading and computing", told, "percentunit", *share, stacked=True)
    loads = "sum(max by (box, stage) (rate(golem_box_loads_total[$__rate_interval])))"
    per_job = f"{loads} / sum({rate('golem_jobs_ended_total', 'state')})"
    told = "Loads for each job that ended. Near 0: large batches; 3: every job loads every model."
    yield series("Loads per job", told, "none", query(per_job, "loads per job"))


def card() -> Iterator[Json]:
    """The card of each worker."""
    yield row("The card of $box", repeat="box")
    memory = [
        query(f'max(golem_box_{name}_bytes{{box="$box"}})', name)
        for name in ("budget", "allocated", "reserved", "free", "peak")
    ]
    told = "Models and batches stay within the budget; the peak is the highest since the worker started."
    yield series("Memory", told, "bytes", *memory)
    resident = query('max by (stage) (golem_box_resident{box="$box"})', "{{stage}}")
    told = "Which model is loaded."
    mapped = {"type": "value", "options": {"0": {"text": " "}, "1": {"text": "loaded", "color": "green"}}}
    defaults = {"mappings": [mapped], "custom": {"fillOpacity": 80, "lineWidth": 0}}
    options = {"showValue": "never", "mergeValues": True, "rowHeight": 0.8}
    yield panel("state-timeline", "Resident", told, "none", resident, defaults=defaults, options=options)
    moves = [
        query(
            f'60 * max by (stage) (rate(golem_box_{kind}_total{{box="$box"}}[$__rate_interval]))',
            f"{kind} {{{{stage}}}}",
        )
        for kind in ("loads", "unloads", "ooms")
    ]
    switches = query('60 * max(rate(golem_box_switches_total{box="$box"}[$__rate_interval]))', "switches")
    told = "Loads, unloads and out-of-memories. A switch is a load that another model had to make room for."
    yield series("Moves per minute", told, "none", *moves, switches)
    in_hand = query('max(golem_box_in_hand{box="$box"})', "in hand")
    yield series("In hand", "Messages that the worker has taken.", "none", in_hand, width=WIDE, height=5)


def door() -> Iterator[Json]:
    """The doors themselves."""
    yield row("Doors")
    answered = query(
        "sum by (route, status) (rate(golem_http_requests_total[$__rate_interval]))", "{{route}} {{status}}"
    )
    yield series("Requests per second", "By route and status. 401: a wrong key or none.", "reqps", answered)
    bucket = "rate(golem_http_first_byte_seconds_bucket[$__rate_interval])"
    first = query(f"histogram_quantile(0.95, sum by (le, route) ({bucket}))", "{{route}}")
    told = "From the request to the first byte of its answer, the upload included."
    yield series("First byte, p95", told, "s", first)
    streams = query("sum by (instance) (golem_http_streams)", "streams {{instance}}")
    under_way = query("sum by (instance) (golem_http_requests_under_way)", "requests {{instance}}")
    yield series("Under way", "Open streams of events, and all open requests.", "none", streams, under_way)
    received = query("sum by (instance) (rate(golem_http_received_bytes_total[$__rate_interval]))", "{{instance}}")
    yield series("Uploads", "Bytes of bodies of requests.", "Bps", received)
    used = query("process_resident_memory_bytes * on (instance) group_left () golem_build_info", "{{instance}}")
    yield series("Memory of the door", "Resident memory of the process.", "bytes", used)
    late = query("max(golem_webhooks_late_seconds)", "due for")
    outbox = query("max(golem_webhooks_outbox)", "not accepted")
    yield series(
        "Webhooks", "How long the first has been due; ends that no deliverer has accepted.", "none", late, outbox
    )


def placed(panels: Iterator[Json]) -> Iterator[Json]:
    """Give each panel its place: from left to right, in lines."""
    x = y = high = 0
    for id, one in enumerate(panels, 1):
        size = one["gridPos"]
        if x + size["w"] > WIDE:
            x, y, high = 0, y + high, 0
        yield one | {"id": id, "gridPos": size | {"x": x, "y": y}}
        x, high = x + size["w"], max(high, size["h"])


def variable(name: str, **given: Any) -> Json:
    """A variable of the dashboard."""
    return {"name": name, "hide": 0, "current": {}, "options": [], "refresh": 2, **given}


def dashboard() -> Json:
    """The whole dashboard."""
    boxes = "label_values(golem_box_in_hand, box)"
    chosen = {"datasource": SOURCE, "query": {"query": boxes, "refId": "box"}, "definition": boxes}
    several = {"multi": True, "includeAll": True, "current": {"text": ["All"], "value": ["$__all"]}, "sort": 1}
    parts = (part for make in (glance, queues, times, card, door) for part in make())
    return {
        "title": "Golem Chain",
        "uid": "golem-chain",
        "description": "Three models that take turns on a card: queues, where the time goes, memory, doors.",
        "tags": ["golem-chain"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                variable("datasource", type="datasource", query="prometheus", label="Prometheus"),
                variable("box", type="query", label="Worker", **(chosen | several)),
            ]
        },
        "annotations": {"list": []},
        "links": [],
        "panels": list(placed(parts)),
    }


def page() -> str:
    """The text of the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
