"""Asks sentinels for the address of the primary; says in words why there is none.

redis-py's connection pool asks at each new connection, so a failover is followed once the old connections are gone.
"""

from threading import Lock
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from golem_chain.broker.address import Primary

#: How long a sentinel may take to accept a connection, and to answer. Others are asked after it.
ANSWER_S = 2.0

SILENT = "has no sentinel that answers"
REFUSED = "has sentinels that reject the password"
UNKNOWN = "has sentinels that know no primary of this name"
DOWN = "has no primary at the moment"
#: Of several reasons the last one is told: the sentinel that gave it knows most.
_REASONS = (SILENT, REFUSED, UNKNOWN, DOWN)


class NoPrimary(MasterNotFoundError):
    """The sentinels name no primary; the argument is one of the reasons. A ConnectionError: it is worth a retry."""


class Sentinels(Sentinel):
    """The sentinels of one primary. Thread-safe, unlike redis-py's, and keeps no connection to them."""

    def __init__(self, primary: Primary) -> None:
        super().__init__(primary.sentinels, sentinel_kwargs=connecting(primary))
        self._asking = Lock()

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the primary, from the first sentinel that knows. Raises NoPrimary."""
        reasons, last = [SILENT], None
        with self._asking:
            for place, sentinel in enumerate(self.sentinels):
                try:
                    known: Any = sentinel.sentinel_masters()
                    state = known.get(service_name)
                except (redis.ConnectionError, redis.TimeoutError) as exc:
                    last = exc
                    if isinstance(exc, redis.AuthenticationError):
                        reasons.append(REFUSED)
                    continue
                finally:
                    sentinel.connection_pool.disconnect()  # the next question may come after days, or after a fork
                if state and self.check_master_state(state, service_name):
                    self.sentinels[0], self.sentinels[place] = sentinel, self.sentinels[0]
                    return state["ip"], state["port"]
                reasons.append(DOWN if state else UNKNOWN)
        raise NoPrimary(max(reasons, key=_REASONS.index)) from last


def connecting(primary: Primary) -> dict[str, Any]:
    """Return redis-py's options for connections to the sentinels."""
    tls = {"ssl": True, **primary.tls} if primary.tls is not None else {}
    once = {"socket_connect_timeout": ANSWER_S, "socket_timeout": ANSWER_S, "retry": Retry(NoBackoff(), 0)}
    return {**once, **primary.sentinel_login, **tls}
