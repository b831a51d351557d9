"""The metrics of the system, from one reading of Redis: every door of a system tells the same. Pure.

Labels are bounded: stages, lanes, states, and the names of at most 200 workers. No id and no name of a file is one.
"""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import golem_chain
from golem_chain.broker.doors.system import views
from golem_chain.broker.monitoring.counts import Counts
from golem_chain.broker.queues import LANES, STAGES
from golem_chain.shared.json_object import JsonObject

#: Labels of a sample, and its value; None: it is not known, and left out.
Rows = Sequence[tuple[Sequence[str], float | None]]


def up(reachable: bool) -> Metric:
    """Return whether Redis answered."""
    told = "Whether Redis answered this scrape (1) or not (0). At 0 the other metrics of the system are absent."
    return _gauge("golem_up", told, [((), float(reachable))])


def build() -> Metric:
    """Return the release."""
    told = "The release of this door, as a label; always 1."
    return _gauge("golem_build_info", told, [((golem_chain.__version__,), 1.0)], "version")


def of_system(seen: JsonObject, counts: Counts, vault_limit_bytes: int) -> Iterator[Metric]:
    """Yield the metrics. `seen`: see `broker.monitoring.status.overview`."""
    boxes = {views.text(name) or "": views.box(told) for name, told in seen["boxes"].items()}
    live = {name: box for name, box in boxes.items() if box["queues"]}
    yield from _queues(seen["queues"])
    yield _gauge("golem_in_hand", "Messages that workers have taken and not finished.", [((), seen["in_hand"])])
    yield _gauge("golem_dead_letters", "Messages that were given up and wait for an operator.", [((), seen["dead"])])
    yield from _counts(counts, vault_limit_bytes)
    yield _gauge("golem_workers", "Live workers.", [((), len(live))])
    serving = [((stage,), sum(stage in box["queues"] for box in live.values())) for stage in STAGES]
    yield _gauge("golem_stage_workers", "Live workers that serve a stage.", serving, "stage")
    yield from _boxes(boxes)


def _queues(queues: Mapping[str, JsonObject]) -> Iterator[Metric]:
    lanes = [((stage, lane), queues[stage]["lanes"][lane]) for stage in STAGES for lane in LANES]
    waiting = [(labels, one["waiting"]) for labels, one in lanes]
    yield _gauge("golem_queue_waiting", "Messages that wait in a lane of a queue.", waiting, "stage", "lane")
    told = "Age of the message that is next in a lane, 0 if none waits."
    oldest = [(labels, one["oldest_s"] or 0.0) for labels, one in lanes]
    yield _gauge("golem_queue_oldest_seconds", told, oldest, "stage", "lane")


def _counts(counts: Counts, vault_limit_bytes: int) -> Iterator[Metric]:
    told = (
        "Jobs that have ended, by the state of their Outcome, since the system began. A job that is retried ends again."
    )
    ended = [((state,), count) for state, count in (counts.ended or {}).items()]
    yield _counter("golem_jobs_ended", told, ended, "state")
    told = "Jobs that were submitted since the system began."
    yield _counter("golem_jobs_submitted", told, [((), counts.submitted)])
    told = "Ends that a URL has to be told and that no deliverer has accepted yet."
    yield _gauge("golem_webhooks_outbox", told, [((), counts.outbox)])
    told = "How long the first webhook has been due, 0 if none is."
    yield _gauge("golem_webhooks_late_seconds", told, [((), counts.late_s)])
    yield _gauge("golem_webhooks_dead", "Webhooks that were given up.", [((), counts.webhooks_dead)])
    told = "Audio, label sets and vocabularies that are kept in Redis."
    yield _gauge("golem_vault_bytes", told, [((), counts.vault_bytes)])
    told = "Their limit (GOLEM_VAULT_LIMIT of this door)."
    yield _gauge("golem_vault_limit_bytes", told, [((), vault_limit_bytes)])


#: Name of a metric of a worker -> its help, and the field of views.BoxView.
_OF_BOX = {
    "golem_box_budget_bytes": ("Memory that models and batches may use (GOLEM_MEMORY_BUDGET).", "budget_bytes"),
    "golem_box_allocated_bytes": ("Memory that models and batches have allocated.", "allocated_bytes"),
    "golem_box_reserved_bytes": ("Memory that the allocator keeps for them.", "reserved_bytes"),
    "golem_box_free_bytes": ("Free memory of the device.", "free_bytes"),
    "golem_box_peak_bytes": ("Highest allocation since the worker started.", "peak_bytes"),
    "golem_box_in_hand": ("Messages that the worker has taken and not finished.", "in_hand"),
}
_COUNTED = {
    "golem_box_loads": ("Loads of a stage's model since the worker started.", "loads_of"),
    "golem_box_unloads": ("Unloads of a stage's model since the worker started.", "unloads_of"),
    "golem_box_ooms": ("Times that a stage ran out of memory since the worker started.", "ooms_of"),
}


def _boxes(boxes: Mapping[str, JsonObject]) -> Iterator[Metric]:
    told = "The device of a worker, as a label; always 1."
    known = [((name, box["device"]), 1.0) for name, box in boxes.items() if box["device"]]
    yield _gauge("golem_box_info", told, known, "box", "device")
    for metric, (told, field) in _OF_BOX.items():
        yield _gauge(metric, told, [((name,), box[field]) for name, box in boxes.items()], "box")
    resident = [
        ((name, stage), float(stage in box["resident"]))
        for name, box in boxes.items()
        for stage in STAGES
        if box["queues"] and stage in box["queues"]
    ]
    told = "Whether a stage's model is loaded (1) or not (0)."
    yield _gauge("golem_box_resident", told, resident, "box", "stage")
    for metric, (told, field) in _COUNTED.items():
        rows = [((name, stage), box[field].get(stage)) for name, box in boxes.items() for stage in STAGES]
        yield _counter(metric, told, rows, "box", "stage")
    told = "Loads that were preceded by an unload of another model, since the worker started."
    yield _counter("golem_box_switches", told, [((name,), box["switches"]) for name, box in boxes.items()], "box")


def _gauge(name: str, told: str, rows: Rows, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(name, told, labels=labels), rows)


def _counter(name: str, told: str, rows: Rows, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(name, told, labels=labels), rows)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, rows: Rows) -> Metric:
    for labels, value in rows:
        if value is not None:
            family.add_metric(labels, value)
    return family
