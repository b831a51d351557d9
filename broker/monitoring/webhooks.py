"""Checks whether a deliverer takes the webhooks that wait."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from golem_chain.broker.keys import Keys
from golem_chain.shared.finding import Finding

if TYPE_CHECKING:
    from redis import Redis

#: A running deliverer takes what is due within a second. Those that wait for a slot behind others may take longer.
LATE_S = 120


@dataclass(frozen=True)
class Waiting:
    """The webhooks of a system."""

    entries: int = 0  # of the outbox
    late_s: float = 0.0  # how long the first has been due; 0 if none is
    dead: int = 0


def read(client: "Redis", keys: Keys) -> Waiting:
    """Read the webhooks. `client` must not decode replies. Raises redis.RedisError if Redis fails."""
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.xlen(keys.outbox)
        pipe.xrange(keys.outbox, count=1)
        pipe.zrange(keys.webhooks, 0, 0, withscores=True)
        pipe.llen(keys.webhooks_dead)
        (seconds, micros), entries, oldest, due, dead = pipe.execute()
    now = seconds + micros / 1e6
    since = [int(id.partition(b"-")[0]) / 1000 for id, _ in oldest] + [at for _, at in due]
    return Waiting(entries, max((now - at for at in since if at < now), default=0.0), dead)


def check(waiting: Waiting) -> list[Finding]:
    """Return the finding."""
    if waiting.late_s > LATE_S:
        told = f"A webhook has been due for {waiting.late_s:.0f} s ({waiting.entries} ends wait in the outbox)"
        return [Finding("webhooks", "warning", told, "start golem deliver, or see in its log what it waits for")]
    if waiting.dead:
        count = f"{waiting.dead} webhook{' was' if waiting.dead == 1 else 's were'}"
        return [Finding("webhooks", "warning", f"{count} given up", "see golem deliver --dead")]
    return [Finding("webhooks", "ok", "No webhook waits for a deliverer")]
