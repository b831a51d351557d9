"""Decides whether a running take gives way to interactive jobs, and looks whether any wait.

                                       between two steps      in the middle of a step
an interactive job waits               gives way              gives way, if the bulk can afford what is lost
a job of the take is interactive       goes on                goes on
"""

from collections.abc import Collection, Sequence

import redis

from golem_chain.broker.keys import Keys
from golem_chain.shared.records import Lane

#: The share of its computing time that bulk may lose to steps that were broken off, and what it may lose at once when
#: it has computed little, seconds. Together with what smaller steps cost (`residency.pace`), bulk loses at most 10 %.
LOST_SHARE = 0.05
CREDIT_S = 2.0


def yields(running: Collection[Lane], *, waiting: bool) -> bool:
    """Whether a take whose open jobs have these lanes gives way. `waiting`: whether an interactive job waits. An idle
    box takes a message within milliseconds, so what waits at a poll waits for this one. Pure."""
    return waiting and "interactive" not in running


def affords(step_s: float, lost_s: float, computed_s: float) -> bool:
    """Whether bulk can afford to lose a step that has run for `step_s`, after `lost_s` that it lost before, of
    `computed_s` in all. Pure."""
    return lost_s + step_s <= CREDIT_S + LOST_SHARE * computed_s


class Lanes:
    """The interactive lanes of the queues that a worker serves."""

    def __init__(self, client: redis.Redis, keys: Keys, queues: Sequence[str]) -> None:
        self._client, self._keys = client, [keys.lane(queue, "interactive") for queue in queues]

    def waiting(self) -> bool:
        """Whether an interactive message waits in any of them. Raises redis.RedisError."""
        with self._client.pipeline(transaction=False) as pipe:
            for key in self._keys:
                pipe.llen(key)
            return any(pipe.execute())
