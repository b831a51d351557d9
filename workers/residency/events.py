"""The event record that residency publishes for each load, unload and out-of-memory."""

import time
from dataclasses import asdict, dataclass, field

from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.memory import Reading


@dataclass(frozen=True)
class Event:
    """A load, an unload or an out-of-memory. Memory is in bytes; `at` is Unix seconds."""

    kind: str  # `load`, `unload` or `oom`
    stage: str
    #: `wanted`, `evicted`, `idle`, `after-use`, `out-of-memory`, `changed`, `proof` or `stop`; `load` for an oom during
    #: a load
    reason: str
    weights_bytes: int
    seconds: float
    allocated_before: int
    allocated: int
    reserved: int
    free: int
    peak: int
    model: str = ""  # checkpoint, revision and dtype behind the stage
    missing_bytes: int = 0  # after the last model was unloaded: memory still in use above the baseline
    at: float = field(default_factory=time.time)

    @classmethod
    def of(
        cls,
        kind: str,
        stage: str,
        reason: str,
        *,
        model: str = "",
        weights_bytes: int,
        seconds: float,
        before: Reading,
        after: Reading,
        missing_bytes: int = 0,
    ) -> "Event":
        """Build an event from the device readings before and after."""
        return cls(
            kind=kind,
            stage=stage,
            reason=reason,
            weights_bytes=weights_bytes,
            seconds=round(seconds, 4),
            allocated_before=before.allocated,
            allocated=after.allocated,
            reserved=after.reserved,
            free=after.free,
            peak=after.peak,
            model=model,
            missing_bytes=missing_bytes,
        )

    def wire(self) -> JsonObject:
        """Plain JSON types."""
        return asdict(self)

    def sentence(self) -> str:
        """One line for the log."""
        line = (
            f"{self.kind} {self.stage} ({self.reason}): {format_bytes(self.weights_bytes)} in "
            f"{self.seconds * 1000:.0f} ms, memory {format_bytes(self.allocated_before)} -> "
            f"{format_bytes(self.allocated)}"
        )
        return line + (f", {format_bytes(self.missing_bytes)} not released" if self.missing_bytes else "")
