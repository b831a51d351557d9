"""Checks of the live workers: whether every stage is served, and with the same models."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring.status import read_boxes
from golem_chain.broker.queues import LANES, STAGES
from golem_chain.shared.finding import Finding
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from redis import Redis

#: Most workers to read.
MOST = 1000


@dataclass(frozen=True)
class Serving:
    """The live workers and the queues."""

    boxes: Mapping[str, JsonObject]  # node name -> what the worker reports
    waiting: Mapping[str, int]  # stage -> messages in both lanes of its queue


def read(client: "Redis", keys: Keys) -> Serving:
    """Read the workers' reports. `client` must decode replies. Raises redis.RedisError if Redis fails."""
    waiting = {stage: sum(client.llen(keys.lane(stage, lane)) for lane in LANES) for stage in STAGES}
    return Serving(read_boxes(client, 0.0, keys, MOST), waiting)


def check(serving: Serving) -> list[Finding]:
    """Return the findings, one for each check."""
    if not serving.boxes:
        waiting = sum(serving.waiting.values())
        told = "No worker is running" + (f", and {waiting} messages wait" if waiting else "")
        return [Finding("workers", "wrong", told, "start golem worker")]
    count = len(serving.boxes)
    running = Finding("workers", "ok", f"{count} worker{' is' if count == 1 else 's are'} running")
    return [running, stages(serving), models(serving)]


def stages(serving: Serving) -> Finding:
    """Every stage has a worker."""
    served = {str(stage) for box in serving.boxes.values() for stage in _list(box.get("queues"))}
    unserved = [stage for stage in STAGES if stage not in served]
    if unserved:
        counts = [f"{stage} ({serving.waiting.get(stage, 0)} messages wait)" for stage in unserved]
        return Finding("stages", "warning", f"No worker serves {', '.join(counts)}", "start one with --queues")
    return Finding("stages", "ok", "Every stage is served")


def models(serving: Serving) -> Finding:
    """Workers with the same stage resident hold the same model."""
    for stage in STAGES:
        held: dict[str, str] = {}  # model -> a worker that holds it
        for name, box in sorted(serving.boxes.items()):
            named = box.get("models")
            if isinstance(named, dict) and stage in named:
                held.setdefault(json.dumps(named[stage]), name)
        if len(held) > 1:
            told = ", ".join(f"{visible(model, 60)} on {visible(box, 40)}" for model, box in held.items())
            return Finding(
                "models-agree", "wrong", f"Workers hold different models for the {stage}: {told}",
                "set the same GOLEM_MODELS on all boxes and restart their workers",
            )  # fmt: skip
    return Finding("models-agree", "ok", "All workers hold the same models")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
