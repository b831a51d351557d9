"""Redis clients with their retry policies, and one-sentence errors that never contain the password.

connect        a producer's or a worker's client: retries for a while
connect_once   for timers and read-only commands: does not retry
Connection     the transport's: treats a server that accepts no writes as unavailable
sentinel_pool  connections of either kind to the primary that sentinels name
"""

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import redis
import redis.connection
from kombu.exceptions import KombuError, OperationalError
from redis import exceptions
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from golem_chain.broker import sentinel, wire
from golem_chain.broker.address import Primary, masked, primary_of
from golem_chain.shared.errors import BadSetting, BrokerAway
from golem_chain.shared.settings import Settings

#: Retries after the first attempt. A producer gives up within about 1 s; a worker survives a restart of Redis (20 s).
PRODUCER_RETRIES = 4
WORKER_RETRIES = 24
_CONNECT_S, _ANSWER_S = 5.0, 60.0
#: Options of redis-py's connections, and what is retried on them.
LINE: Mapping[str, Any] = {
    "socket_connect_timeout": _CONNECT_S,
    "socket_timeout": _ANSWER_S,
    "socket_keepalive": True,
    "health_check_interval": 30,
}
RETRIED: Sequence[type[redis.RedisError]] = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)


def backoff() -> ExponentialBackoff:
    """Return the pauses between retries."""
    return ExponentialBackoff(cap=1.0, base=0.05)


def connect(settings: Settings, retries: int = PRODUCER_RETRIES) -> redis.Redis:
    """Return a client that connects on its first command; bytes in, bytes out. Raises BadSetting if the URL is bad."""
    return _client(
        settings,
        **LINE,
        retry=Retry(backoff(), retries),
        retry_on_error=list(RETRIED),
    )


def connect_once(settings: Settings, **options: Any) -> redis.Redis:
    """Return a client that does not retry, for timers and read-only commands. It connects on its first command. Raises
    BadSetting if the URL is bad."""
    return _client(settings, **{"socket_connect_timeout": _CONNECT_S, "retry": Retry(NoBackoff(), 0), **options})


def _client(settings: Settings, **options: Any) -> redis.Redis:
    try:
        primary = primary_of(settings.redis_url)
        if primary is not None:
            return redis.Redis.from_pool(sentinel_pool(primary, **options))
        client: redis.Redis = redis.Redis.from_url(settings.redis_url, **options)
    except ValueError:
        raise bad_url(settings.redis_url) from None
    return client


def bad_url(url: str) -> BadSetting:
    """Return the error for a URL that names no Redis server: one sentence with the remedy."""
    scheme = url.partition(":")[0].lower()
    if "sentinel" in scheme:
        return BadSetting(
            "GOLEM_REDIS_URL is not a valid Sentinel URL: "
            "use sentinel://:password@host1:26379,host2:26379/0?master=NAME, or sentinels:// for TLS."
        )
    if "cluster" in scheme:
        return BadSetting(f"GOLEM_REDIS_URL={masked(url)} {_CLUSTER}: {_REMEDIES[_CLUSTER]}.")
    return BadSetting(
        f"GOLEM_REDIS_URL={masked(url)} is not a valid Redis URL: "
        "use redis://:password@host:6379/0, rediss:// for TLS, or unix:// for a socket."
    )


@contextmanager
def reaching(settings: Settings) -> Iterator[None]:
    """Turn Redis errors inside the block into BrokerAway: one sentence with the server and the remedy. A script's error
    WIRE becomes WireDiffers."""
    try:
        yield
    except redis.ResponseError as exc:
        code, _, found = str(exc).partition(" ")
        raise wire.differs(place(settings), found) if code == "WIRE" else _away(settings, _why(exc)) from None
    except (redis.RedisError, KombuError, OperationalError) as exc:
        raise _away(settings, _why(exc)) from None


def _away(settings: Settings, why: str) -> BrokerAway:
    remedy = _REMEDIES.get(why, "check GOLEM_REDIS_URL and that the server is running")
    return BrokerAway(f"{place(settings)} {why}: {remedy}.")


def place(settings: Settings) -> str:
    """Return the server as it is named in sentences."""
    return f"Redis at {masked(settings.redis_url)}"


_OUT_OF_MEMORY = "is out of memory"
_DISK_FULL = "cannot write to its disk and rejects writes"
_REPLICA = "is a replica and accepts no writes"
_NO_FUNCTIONS = "has no functions of this release"
_CLUSTER = "is a Redis Cluster, which is not supported"
_REMEDIES = {
    _NO_FUNCTIONS: "this user may run no scripts, so an administrator has to run golem functions --load",
    _CLUSTER: "name a single server, or a managed service's endpoint without cluster mode, in GOLEM_REDIS_URL",
    _OUT_OF_MEMORY: "wait for jobs to end, or raise its maxmemory",
    _DISK_FULL: "free space on the server's disk; workers then continue on their own",
    _REPLICA: "wait for the failover to end, or name the primary in GOLEM_REDIS_URL",
    sentinel.SILENT: "check the addresses in GOLEM_REDIS_URL and that the sentinels are running",
    sentinel.REFUSED: "set sentinel_password in GOLEM_REDIS_URL",
    sentinel.UNKNOWN: "set master in GOLEM_REDIS_URL to the name that they monitor",
    sentinel.DOWN: "wait for the failover to end, or start the primary",
}


#: Answers that only a node of a cluster gives: MOVED and ASK, CROSSSLOT, CLUSTERDOWN, TRYAGAIN. One about keys in a
#: script, and one about database numbers, have no class of their own.
_CLUSTER_ANSWERS = (
    exceptions.AskError | exceptions.ClusterCrossSlotError | exceptions.ClusterDownError | exceptions.TryAgainError
)
_CLUSTER_WORDS = re.compile("in a cluster node|in cluster mode|hash to the same slot")


def _why(exc: BaseException) -> str:
    """Describe the failure without quoting error text that could contain a secret."""
    causes = [exc]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    text = " ".join(str(cause) for cause in causes)

    def among(kind: Any) -> bool:
        return any(isinstance(cause, kind) for cause in causes)

    if among(ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in text:
        return "presented an untrusted certificate (name its CA with rediss://…?ssl_ca_certs=ca.pem)"
    if reasons := [cause.args[0] for cause in causes if isinstance(cause, sentinel.NoPrimary)]:
        return str(reasons[0])
    if among(redis.AuthenticationError) or any(
        word in text for word in ("WRONGPASS", "NOAUTH", "invalid username-password", "AUTH", "uthentication required")
    ):
        return "rejected the password"
    if among(exceptions.NoPermissionError):
        return "denied this user a command"
    if among(exceptions.ReadOnlyError | exceptions.MasterDownError):
        return _REPLICA
    if among(_CLUSTER_ANSWERS) or _CLUSTER_WORDS.search(text):
        return _CLUSTER
    if among(exceptions.OutOfMemoryError) or "maxmemory" in text:
        return _OUT_OF_MEMORY
    if "MISCONF" in text:
        return _DISK_FULL
    if "Function not found" in text:
        return _NO_FUNCTIONS
    if among(redis.TimeoutError):
        return "did not answer in time"
    if among(redis.ResponseError):
        return f"rejected a command ({text.splitlines()[0][:100]})"
    return "cannot be reached"


def check_broker(settings: Settings) -> None:
    """Ping Redis. Raises BrokerAway with the reason if it does not answer or is a cluster, whose nodes reject scripts
    with keys of several slots; BadSetting if the URL is bad."""
    with reaching(settings), connect(settings, retries=0) as client:
        client.ping()
        with suppress(exceptions.NoPermissionError):  # a user without INFO: a cluster is then noticed at the first job
            if client.info("cluster").get("cluster_enabled"):
                raise _away(settings, _CLUSTER)


#: Errors of a server that temporarily accepts no writes: its memory is full, it became a replica, or it is a replica
#: whose primary is down. redis-py removes the error code from the text of errors with a class of their own.
_REFUSALS = (exceptions.OutOfMemoryError, exceptions.ReadOnlyError, exceptions.MasterDownError)
#: Codes of such errors without a class: the disk is full, too few replicas are connected, a script runs too long.
_REFUSAL_CODES = ("MISCONF ", "NOREPLICAS ", "BUSY ")


def refuses_writes(exc: redis.ResponseError) -> bool:
    """Return whether the error means that the server temporarily accepts no writes at all."""
    return isinstance(exc, _REFUSALS) or str(exc).startswith(_REFUSAL_CODES)


def is_absence(exc: redis.RedisError) -> bool:
    """Return whether the server is down or rejects all writes for now; no message is to blame for that."""
    absent = isinstance(exc, redis.ConnectionError | redis.TimeoutError)
    return absent or (isinstance(exc, redis.ResponseError) and refuses_writes(exc))


class _RefusedWritesDisconnect(redis.connection.AbstractConnection):
    """Turns such an error into a ConnectionError, which kombu and Celery recover from."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """As redis-py's, but raises ConnectionError for a refused write as well."""
        try:
            return super().read_response(*args, **kwargs)
        except redis.ResponseError as exc:
            if refuses_writes(exc):
                raise redis.ConnectionError(f"Redis accepts no writes: {exc}") from exc
            raise


class Connection(_RefusedWritesDisconnect, redis.Connection):
    """A TCP connection. A server that accepts no writes counts as down: the worker waits, as it does for a restart."""


class SecureConnection(_RefusedWritesDisconnect, redis.SSLConnection):
    """The same over TLS."""


class SentinelConnection(_RefusedWritesDisconnect, SentinelManagedConnection):
    """A TCP connection to the primary that the sentinels name; it asks them again whenever it has to reconnect."""


class SecureSentinelConnection(_RefusedWritesDisconnect, SentinelManagedSSLConnection):
    """The same over TLS."""


def sentinel_pool(primary: Primary, **options: Any) -> SentinelConnectionPool:
    """Return a pool of connections to the primary. `options` are those of redis-py's connections."""
    given = {key: value for key, value in options.items() if key not in ("host", "port")}
    given.setdefault("connection_class", SentinelConnection if primary.tls is None else SecureSentinelConnection)
    given |= {"db": primary.db, **primary.login, **(primary.tls or {})}
    return SentinelConnectionPool(primary.name, sentinel.Sentinels(primary), **given)
