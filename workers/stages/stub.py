"""A stub engine for tests of everything around engines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from golem_chain.shared.errors import GolemError
from golem_chain.workers.stages.engine import Ready


@dataclass
class StubEngine:
    """An engine without a model, for tests of residency, tasks and batching: a size, counters, scripted failures."""

    name: str
    weights_bytes: int = 1000
    working: int = 0
    fail_load: Exception | None = None
    fail_loads: int | None = None  # how many loads fail; None: all
    fail_prefetch: Exception | None = None
    fail_above: int | None = None  # a larger batch raises `error_above`
    error_above: Exception = field(default_factory=lambda: MemoryError("the fake device is full"))
    costs: Mapping[Any, float] = field(default_factory=dict)  # by request; 1 for all others
    loaded: bool = False
    loads: int = 0
    unloads: int = 0
    prefetches: int = 0
    batches: list[int] = field(default_factory=list)

    def cost(self, ask: object) -> float:
        return self.costs.get(ask, 1.0) if self.costs else 1.0

    def working_bytes(self, batch: int) -> int:
        return self.working * batch

    def load(self) -> None:
        if self.fail_load and self.fail_loads != 0:
            self.fail_loads = None if self.fail_loads is None else self.fail_loads - 1
            raise self.fail_load
        self.loaded = True
        self.loads += 1

    def unload(self) -> None:
        self.unloads += self.loaded
        self.loaded = False

    def prefetch(self) -> None:
        self.prefetches += 1
        if self.fail_prefetch:
            raise self.fail_prefetch

    def prepare(self, ask: object) -> object:
        if isinstance(ask, GolemError):
            raise ask
        return Ready(ask)

    def run(self, batch: Sequence[object]) -> list[object]:
        assert self.loaded, f"{self.name} ran while it was not loaded"
        self.batches.append(len(batch))
        if self.fail_above is not None and len(batch) > self.fail_above:
            raise self.error_above
        return [item if isinstance(item, GolemError) else f"{self.name}({item})" for item in batch]
