"""A scrape: reads the system, and puts its metrics and those of the door into Prometheus' text format."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from golem_chain.broker.doors.system.metrics import families
from golem_chain.broker.doors.system.metrics.batches import Batches
from golem_chain.broker.doors.system.metrics.requests import Requests
from golem_chain.broker.doors.system.reader import Reader, Shared
from golem_chain.shared.errors import BrokerAway
from golem_chain.shared.settings import Settings


class System(Collector):
    """The metrics of the last reading."""

    def __init__(self) -> None:
        self.read: list[Metric] = []

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        yield from self.read


class Metrics:
    """The metrics of one door."""

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._settings, self._reader = settings, reader
        self.registry = CollectorRegistry()
        self.system = System()
        self.registry.register(self.system)
        self._batches, self.requests = Batches(self.registry), Requests(self.registry)
        ProcessCollector(registry=self.registry)
        disable_created_metrics()  # one more series for each counter and histogram, which Prometheus does not read
        self._events: Shared[int] = Shared(lambda: reader.answer(self._batches.read))

    async def scrape(self) -> bytes:
        """Return all metrics. Where Redis is away, `golem_up` is 0 and the system's are absent."""
        try:
            seen, counts = await self._reader.overview(), await self._reader.counts()
            await self._events.get()
        except BrokerAway:
            self.system.read = [families.up(False), families.build()]
        else:
            found = families.of_system(seen, counts, self._settings.vault_limit)
            self.system.read = [families.up(True), families.build(), *found]
        return generate_latest(self.registry)

    async def close(self) -> None:
        """End a reading that goes on."""
        await self._events.close()
