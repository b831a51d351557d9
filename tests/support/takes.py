"""Looking at queues and taking messages as a worker does, without a worker."""

from collections.abc import Sequence
from typing import Any

from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import task_name
from golem_chain.broker.transport import scripts
from golem_chain.broker.transport.channel import _seen
from golem_chain.broker.transport.message import Lease, Taken
from golem_chain.broker.transport.view import Line

keys = Keys()
BOX = "box@here"


def peek(client: Any, *queues: str, box: str = BOX, holds: Sequence[str] = ()) -> list[Line]:
    """Return the state of the queues."""
    lanes = [keys.lane(queue, lane) for lane in ("bulk", "interactive") for queue in queues]
    touched = (*lanes, *map(keys.claim, queues), keys.served, keys.crashes)
    held = [int(queue in holds) for queue in queues]
    return _seen(queues, client.eval(scripts.PEEK, len(touched), *touched, box, *held))


def take(
    client: Any, queue: str = "scribe", most: int = 8, *, bulk: int = 0, deliveries: int = 3, box: str = BOX
) -> tuple[list[Taken], int, list[bytes]]:
    """Take messages: return them, how many became dead letters, and the letters that were dropped."""
    touched = [keys.lane(queue, "bulk"), keys.lane(queue, "interactive"), keys.wake(queue)]
    touched += [keys.unacked, keys.unacked_index, keys.holders, keys.deliveries, keys.crashes]
    touched += [keys.dead, keys.dying, keys.served, keys.claim(queue)]
    bounds = (most, bulk, deliveries, box, -1, queue, task_name(queue))
    rows, buried, dropped = client.eval(scripts.TAKE, len(touched), *touched, *bounds)
    return [Taken.of(row) for row in rows], buried, dropped


def lease(taken: Taken, box: str = BOX) -> Lease:
    """Return the lease of a message that `take` returned."""
    return Lease(taken.tag, box, taken.delivery)
