"""The counts of a system that cost the same however many jobs there are: jobs, webhooks, the vault's bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import redis

from golem_chain.broker.keys import Keys
from golem_chain.shared.records import State

STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Counts:
    """What was counted. None: the Redis user may not read it, or somebody else has written there."""

    ended: Mapping[str, int] | None = field(default_factory=dict)  # by state, since the system began
    submitted: int | None = 0  # since then
    outbox: int | None = 0  # ends that no deliverer has accepted yet
    late_s: float | None = 0.0  # how long the first webhook has been due
    webhooks_dead: int | None = 0
    vault_bytes: int | None = 0


def read(client: redis.Redis, keys: Keys) -> Counts:
    """Read the counts in one round trip of six commands. `client` must decode replies. Raises redis.RedisError if Redis
    fails."""
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hgetall(keys.totals)
        pipe.xlen(keys.outbox)
        pipe.zrange(keys.webhooks, 0, 0, withscores=True)
        pipe.llen(keys.webhooks_dead)
        pipe.get(keys.vault_total)
        clock, totals, outbox, due, dead, stored = pipe.execute(raise_on_error=False)
    if isinstance(clock, redis.RedisError):
        raise clock
    now = clock[0] + clock[1] / 1e6
    return Counts(
        _ended(totals) if isinstance(totals, dict) else None,
        (_number(totals.get("submitted", 0)) or 0) if isinstance(totals, dict) else None,
        _number(outbox),
        max([now - at for _, at in due if at < now], default=0.0) if isinstance(due, list) else None,
        _number(dead),
        0 if stored is None else _number(stored),
    )


def _ended(found: dict[str, str]) -> dict[str, int]:
    return {state: _number(found.get(state, 0)) or 0 for state in STATES}


def _number(value: Any) -> int | None:
    """Return a whole number that is not negative; None for an error, or what is none."""
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        return None
