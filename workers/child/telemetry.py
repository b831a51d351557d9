"""The child's telemetry: writes the box's state (`Keys.box`) and its events (the timeline)."""

import json
import logging
import time
from collections.abc import Callable, Sequence

import redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import timeline
from golem_chain.broker.queues import STAGES
from golem_chain.shared.json_object import JsonObject
from golem_chain.workers.residency.events import Event
from golem_chain.workers.residency.manager import Residency, precision_in
from golem_chain.workers.residency.spent import Served

logger = logging.getLogger(__name__)

#: Expiry of the hash without a claim on the node name, seconds; with a claim, the parent's renewals extend it.
_ALONE_S = 60


class Telemetry:
    """The telemetry of one box. Redis errors are only logged: the next write contains the full state again.

    `announce` sends an event to Celery's event stream and never raises.
    """

    def __init__(self, client: redis.Redis, node: str, announce: Callable[[JsonObject], None], keys: Keys) -> None:
        self._client, self._node, self._key, self._keys = client, node, keys.box(node), keys
        self._announce = announce
        self.residency: Residency | None = None  # set once built; its events need it
        self.peak = 0  # highest bytes since the start
        self.loads = dict.fromkeys(STAGES, 0)
        self.unloads, self.ooms = dict.fromkeys(STAGES, 0), dict.fromkeys(STAGES, 0)
        self.switches = 0
        self._evicted = False  # a model has made room since the last load
        self.load_costs: dict[str, float] = {}  # each stage's latest load, seconds
        self._last: Event | None = None

    def on_event(self, event: Event) -> None:
        """Record a load, an unload or an out-of-memory."""
        self._last = event
        self._count(event)
        if not self._tell(event.wire()):
            return  # Redis timed out: do not wait for it twice
        self._announce(event.wire())
        if self.residency is not None:  # now, because the batch that needs the model may take minutes
            self.tell(self.residency)

    def _count(self, event: Event) -> None:
        counted = {"load": self.loads, "unload": self.unloads, "oom": self.ooms}[event.kind]
        counted[event.stage] = counted.get(event.stage, 0) + 1
        if event.kind == "load":
            self.load_costs[event.stage] = event.seconds
            self.switches += self._evicted
            self._evicted = False
        elif event.kind == "unload":
            self._evicted |= event.reason == "evicted"

    def on_batch(
        self,
        stage: str,
        jobs: Sequence[str],
        queued_s: Sequence[float | None],
        served: Served,
        seconds: float,
        before: int,
        residency: Residency,
    ) -> None:
        """Record a batch of these jobs that took `seconds`. `before`: bytes allocated at its start. `queued_s`: how
        long each job has waited, in its queue and for others of the take; None for one without an answer, which was
        given back and is not counted."""
        ran = [(job, waited) for job, waited in zip(jobs, queued_s, strict=True) if waited is not None]
        now = residency.memory.read()
        event = {"kind": "batch", "stage": stage, "at": time.time(), "seconds": round(seconds, 4), "size": len(ran)}
        event |= {"load_s": round(served.load_s, 4), "compute_s": round(served.compute_s, 4)}
        event |= {"at_once": served.batch_size}
        event |= {"jobs": [job for job, _ in ran], "queued_s": [round(waited, 4) for _, waited in ran]}
        event |= {"allocated_before": before, "allocated": now.allocated}
        event |= {"peak": max(served.peak_bytes, now.allocated), "budget": residency.budget_bytes}
        self._tell(event)

    def _tell(self, event: JsonObject) -> bool:
        try:
            timeline.tell(self._client, self._node, event, self._keys)
        except redis.RedisError as exc:
            logger.warning("The %s event was not written to the timeline: %s", event["kind"], exc)
            return False
        return True

    def tell(self, residency: Residency) -> None:
        """Write the full state."""
        now = residency.memory.read()
        self.peak = max(self.peak, now.peak)
        fields = {
            "resident": list(residency.resident),
            "models": {stage: residency.model(stage) for stage in residency.resident},
            "precisions": {stage: precision_in(residency.model(stage)) for stage in residency.engines},
            "device": residency.memory.device,
            "allocated": now.allocated,
            "reserved": now.reserved,
            "free": now.free,
            "peak": self.peak,
            "budget": residency.budget_bytes,
            "loads": sum(self.loads.values()),
            "loads_of": self.loads,
            "unloads_of": self.unloads,
            "ooms_of": self.ooms,
            "switches": self.switches,
            "last_event": self._last.wire() if self._last else None,
        }
        try:
            self._client.hset(self._key, mapping={name: json.dumps(value) for name, value in fields.items()})
            if self._client.ttl(self._key) == -1:
                self._client.expire(self._key, _ALONE_S)
        except redis.RedisError as exc:
            logger.warning("The state of this worker could not be written: %s", exc)
