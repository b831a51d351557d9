"""A residency with fake engines on a fake device."""

from typing import Any

from golem_chain.workers.devices.memory import Reading
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.stages.stub import StubEngine


class FakeMemory:
    """A device whose use is a baseline plus the loaded engines."""

    device = "fake"

    def __init__(self, engines, total=10_000, leak=0):
        self.engines, self.total, self.leak, self.given_back, self.limited = engines, total, leak, 0, None

    def read(self):
        used = 100 + sum(e.weights_bytes for e in self.engines.values() if e.loaded) + self.leak * self.given_back
        return Reading(used, used, self.total - used, used, self.total)

    def reset_peak(self):
        pass

    def give_back(self):
        self.given_back += 1

    def limit(self, budget_bytes):
        self.limited = budget_bytes


def make(mode="1", budget=None, leak=0, **engines):
    engines = {name: StubEngine(name, **kw) for name, kw in (engines or {"a": {}, "b": {}, "c": {}}).items()}
    events: list[Any] = []
    memory = FakeMemory(engines, leak=leak)
    return Residency(engines, memory, mode, budget, on_event=events.append), engines, events
