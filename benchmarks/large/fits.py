"""What fits where: a model's need against a room, by the functions that a worker decides with. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.memory import budget_bytes
from golem_chain.workers.residency.eviction import Held, evict, largest_batch

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


def together(chain: Sequence[Need], room_bytes: int) -> str:
    """What becomes of models that are used one after the other, with batches of 1, where as many stay as fit. In the
    second round it shows whether they stay: a stage that was used first may need more working memory than was free."""
    held: list[Held] = []
    refused: dict[str, None] = {}
    least = len(chain)
    for turn, need in enumerate([*chain, *chain]):
        plan = evict(need.stage, need.weights_bytes, need.working_bytes[1], held, room_bytes, "auto")
        if plan.fits:
            held = [one for one in held if one.stage not in (*plan.evict, need.stage)]
            held.append(Held(need.stage, need.weights_bytes, turn))
        else:
            refused[need.stage] = None
        least = min(least, len(held)) if turn >= len(chain) - 1 else least
    return outcome([*refused], least, len(chain))


def outcome(refused: Sequence[str], resident: int, models: int) -> str:
    """The words for it."""
    if refused:
        return f"refused: {', '.join(refused)}"
    return "all three stay" if resident == models else "they take turns"


def planned(working_bytes: Callable[[int], int], most: int) -> dict[int, int]:
    """The working memory of each batch up to `most`."""
    return {batch: working_bytes(batch) for batch in range(1, most + 1)}
