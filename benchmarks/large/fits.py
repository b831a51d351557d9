"""What fits where: a model's need against a room, by the functions that a worker decides with. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.memory import budget_bytes
from golem_chain.workers.residency.eviction import evict, largest_batch

GIB = 1 << 30
#: The driver's context on a card: what docs/cards.md assumes, and a worker measures.
CONTEXT_BYTES = 400 << 20
#: Name of a room → bytes that weights and working memory share there.
ROOMS: Mapping[str, int] = {
    "budget of 2 GiB": 2 * GIB,
    "budget of 4 GiB": 4 * GIB,
    "card of 4 GB": budget_bytes(None, 4 * GIB) - CONTEXT_BYTES,
}


@dataclass(frozen=True)
class Need:
    """What a model takes in one precision; bytes."""

    stage: str
    model: str
    precision: str
    weights_bytes: int
    working_bytes: Mapping[int, int]  # by the size of the batch, as its engine plans it

    @property
    def least_bytes(self) -> int:
        """With a batch of 1."""
        return self.weights_bytes + self.working_bytes[min(self.working_bytes)]


def batch_in(need: Need, room_bytes: int) -> int:
    """The largest batch, up to the largest planned one, of a model that is alone in a room; 0 if it is refused."""
    if not evict(need.stage, need.weights_bytes, need.working_bytes[1], (), room_bytes, "1").fits:
        return 0
    return largest_batch(max(need.working_bytes), room_bytes - need.weights_bytes, need.working_bytes.__getitem__)


def cell(need: Need, room_bytes: int) -> str:
    """`fits, batches of 8`, or what is missing."""
    batch = batch_in(need, room_bytes)
    return f"batches of {batch}" if batch else f"refused: {format_bytes(need.least_bytes)}"


def planned(working_bytes: Callable[[int], int], most: int) -> dict[int, int]:
    """The working memory of each batch up to `most`."""
    return {batch: working_bytes(batch) for batch in range(1, most + 1)}
