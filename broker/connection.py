"""Connections to Redis: how long each kind tries, and one sentence for a person when it fails, without the password.

connect        a producer's or a worker's client: tries for a while
connect_once   for timers, and for commands that only look
Connection     the transport's: a server that takes no writes is treated as one that is away
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.connection
from kombu.exceptions import KombuError, OperationalError
from redis import exceptions
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from golem_chain.shared.errors import BadSetting, BrokerAway
from golem_chain.shared.settings import Settings

#: Tries beyond the first. Producers give up within about a second; a worker rides out a restart of Redis (20 s).
PRODUCER_RETRIES = 4
WORKER_RETRIES = 24
_CONNECT_S, _ANSWER_S = 5.0, 60.0


def connect(settings: Settings, retries: int = PRODUCER_RETRIES) -> redis.Redis:
    """A client that connects at its first command; bytes in, bytes out. Raises BadSetting."""
    try:
        client: redis.Redis = redis.Redis.from_url(
            settings.redis_url,
            socket_connect_timeout=_CONNECT_S,
            socket_timeout=_ANSWER_S,
            socket_keepalive=True,
            health_check_interval=30,
            retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), retries),
            retry_on_error=[redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError],
        )
    except ValueError:
        raise BadSetting(
            f"GOLEM_REDIS_URL={masked(settings.redis_url)} is not the address of a Redis: "
            "write redis://:password@host:6379/0, or rediss:// for TLS."
        ) from None
    return client


def masked(url: str) -> str:
    """The address without user and password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(unreadable)"
    return f"{parts.scheme}://{'***@' if '@' in parts.netloc else ''}{host}{port}{parts.path}"


def connect_once(settings: Settings, **options: Any) -> redis.Redis:
    """A plain client of the same Redis that tries once: for those who look, and for timers. Nothing is sent yet."""
    given = {"socket_connect_timeout": _CONNECT_S, "retry": Retry(NoBackoff(), 0), **options}
    client: redis.Redis = redis.Redis.from_url(settings.redis_url, **given)
    return client


@contextmanager
def reaching(settings: Settings) -> Iterator[None]:
    """What goes wrong with Redis inside the block becomes BrokerAway: one sentence that names GOLEM_REDIS_URL."""
    try:
        yield
    except (redis.RedisError, KombuError, OperationalError) as exc:
        why = _why(exc)
        remedy = _REMEDIES.get(why, "check GOLEM_REDIS_URL and that the server runs")
        raise BrokerAway(f"Redis at {masked(settings.redis_url)} {why}: {remedy}.") from None


_OUT_OF_MEMORY = "is out of memory"
_DISK_FULL = "cannot write to its disk and takes nothing more"
_REPLICA = "is a replica and takes no writes"
_REMEDIES = {
    _OUT_OF_MEMORY: "wait for jobs to end, or raise its maxmemory",
    _DISK_FULL: "make room on the server's disk, it goes on by itself",
    _REPLICA: "wait for the failover to end, or name the primary in GOLEM_REDIS_URL",
}


def _why(exc: BaseException) -> str:
    """What Redis did, without quoting an error text that could hold a secret."""
    causes = [exc]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    text = " ".join(str(cause) for cause in causes)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes) or "CERTIFICATE_VERIFY_FAILED" in text:
        return "shows a certificate that is not trusted (rediss://…?ssl_ca_certs=ca.pem names who vouches for it)"
    if any(isinstance(cause, redis.AuthenticationError) for cause in causes) or any(
        word in text for word in ("WRONGPASS", "NOAUTH", "invalid username-password", "AUTH", "uthentication required")
    ):
        return "refuses the password"
    if any(isinstance(cause, exceptions.NoPermissionError) for cause in causes):
        return "forbids this user a command"
    if any(isinstance(cause, exceptions.ReadOnlyError | exceptions.MasterDownError) for cause in causes):
        return _REPLICA
    if any(isinstance(cause, exceptions.OutOfMemoryError) for cause in causes) or "maxmemory" in text:
        return _OUT_OF_MEMORY
    if "MISCONF" in text:
        return _DISK_FULL
    if any(isinstance(cause, redis.TimeoutError) for cause in causes):
        return "does not answer in time"
    if any(isinstance(cause, redis.ResponseError) for cause in causes):
        return f"refuses a command ({text.splitlines()[0][:100]})"
    return "cannot be reached"


def check_broker(settings: Settings) -> None:
    """Raises BrokerAway with the reason if Redis does not answer, BadSetting for an address that is none."""
    with reaching(settings), connect(settings, retries=0) as client:
        client.ping()


#: Answers of a server that accepts no writes now, and will later: its memory is full, it has become a replica, or it
#: is a replica whose primary is away. redis-py takes the code off the text of those that it has a class for.
_REFUSALS = (exceptions.OutOfMemoryError, exceptions.ReadOnlyError, exceptions.MasterDownError)
#: How the others begin: the disk is full, too few replicas answer, a script runs for too long.
_REFUSAL_CODES = ("MISCONF ", "NOREPLICAS ", "BUSY ")


def refuses_writes(exc: redis.ResponseError) -> bool:
    """Whether the server accepts no writes for now, whatever the command was."""
    return isinstance(exc, _REFUSALS) or str(exc).startswith(_REFUSAL_CODES)


class _Waits(redis.connection.AbstractConnection):
    """Turns such an answer into a ConnectionError, which kombu and Celery ride out."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """As redis-py's. Raises ConnectionError for a refusal as well."""
        try:
            return super().read_response(*args, **kwargs)
        except redis.ResponseError as exc:
            if refuses_writes(exc):
                raise redis.ConnectionError(f"Redis takes no writes: {exc}") from exc
            raise


class Connection(_Waits, redis.Connection):
    """TCP. On it a server that takes no writes is one that is away: the worker waits, as for a restart."""


class SecureConnection(_Waits, redis.SSLConnection):
    """The same over TLS."""
