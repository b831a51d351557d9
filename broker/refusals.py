"""Connections on which a server that takes no writes is a server that is away: the worker waits, as for a restart."""

from typing import Any

import redis

#: How the server's answer begins when its disk is full, its memory is full, or it has become a replica.
REFUSALS = ("MISCONF", "OOM ", "READONLY")


class _Waits:
    """Turns such an answer into a ConnectionError, which kombu and celery ride out."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """As redis-py's. Raises ConnectionError for a refusal as well."""
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except redis.ResponseError as exc:
            if str(exc).startswith(REFUSALS):
                raise redis.ConnectionError(f"Redis takes no writes: {exc}") from exc
            raise


class Connection(_Waits, redis.Connection):
    """TCP."""


class SecureConnection(_Waits, redis.SSLConnection):
    """TLS."""
