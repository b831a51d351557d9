"""redis-py's asyncio client in the shape of its synchronous one, for code inside of `bridge.run`.

It connects, retries and follows sentinels as `broker.connection` says, over at most CONNECTIONS connections.
"""

import asyncio
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.client import Pipeline

from golem_chain.broker.address import Primary, primary_of
from golem_chain.broker.asynchronous.bridge import wait_for
from golem_chain.broker.connection import LINE, PRODUCER_RETRIES, RETRIED, backoff, bad_url
from golem_chain.broker.sentinel import Sentinels
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.settings import Settings

#: Commands under way at once, each on a connection of its own; further ones wait for their turn.
CONNECTIONS = 16


def connect(settings: Settings, **given: Any) -> redis.asyncio.Redis:
    """Return a client that connects on its first command; bytes in, bytes out, unless the options of redis-py say
    otherwise. Raises BadSetting if the URL is bad."""
    options: dict[str, Any] = {**LINE, "retry": Retry(backoff(), PRODUCER_RETRIES), "retry_on_error": list(RETRIED)}
    options |= given
    try:
        primary = primary_of(settings.redis_url)
        if primary is not None:
            return redis.asyncio.Redis.from_pool(_pool(primary, options))
        client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(settings.redis_url, **options)
    except ValueError:
        raise bad_url(settings.redis_url) from None
    return client


def _pool(primary: Primary, options: dict[str, Any]) -> SentinelConnectionPool:
    kind = SentinelManagedConnection if primary.tls is None else SentinelManagedSSLConnection
    given = {**options, "db": primary.db, **primary.login, **(primary.tls or {})}
    return SentinelConnectionPool(primary.name, _Sentinels(primary), connection_class=kind, **given)


class _Sentinels:
    """Asks the sentinels in a thread: rarely, and for a few milliseconds."""

    def __init__(self, primary: Primary) -> None:
        self._asked = Sentinels(primary)

    async def discover_master(self, name: str) -> tuple[str, int]:
        """See `Sentinels.discover_master`."""
        return await asyncio.to_thread(self._asked.discover_master, name)


class Client(redis.Redis):
    """The commands, pipelines and subscriptions of a synchronous client, each over the asyncio client."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        """`options` are those of redis-py's connections."""
        super().__init__()  # it never connects
        self.asynchronous = connect(settings, **options)
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._loop: asyncio.AbstractEventLoop | None = None  # whose the connections are

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its answer. Raises redis.RedisError."""
        return wait_for(self._execute(args, options))

    def _check_loop(self) -> None:
        self._loop, running = self._loop or asyncio.get_running_loop(), asyncio.get_running_loop()
        if self._loop is not running:
            raise BadRequest("An AsyncPipeline belongs to the event loop that used it first: make one for each loop.")

    async def _execute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        self._check_loop()
        async with self._turns:
            return await self.asynchronous.execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "Batch":
        """Return a pipeline of this client."""
        return Batch(self, transaction, shard_hint)

    async def execute_all(self, commands: list[Any], transaction: bool, raise_on_error: bool) -> list[Any]:
        """Send the commands of a pipeline in one round trip."""
        self._check_loop()
        async with self._turns, self.asynchronous.pipeline(transaction=transaction) as pipe:
            for args, options in commands:
                pipe.execute_command(*args, **options)
            return list(await pipe.execute(raise_on_error=raise_on_error))

    def pubsub(self, **options: Any) -> Any:
        """Return a subscription, on a connection of its own."""
        self._check_loop()
        return Subscription(self.asynchronous.pubsub(**options))

    async def drop_idle(self) -> None:
        """Close the connections that no command uses."""
        await self.asynchronous.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.asynchronous.aclose()


class Batch(Pipeline):
    """A pipeline that is sent by the asyncio client."""

    def __init__(self, client: Client, transaction: bool, shard_hint: str | None) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, shard_hint)
        self._through = client

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send the commands and return their answers. Raises redis.RedisError."""
        commands, self.command_stack = self.command_stack, []
        return wait_for(self._through.execute_all(commands, bool(self.transaction), raise_on_error))


class Subscription:
    """What `Announcements` needs of a subscription."""

    def __init__(self, listener: Any) -> None:
        self._listener = listener

    def subscribe(self, channel: str) -> None:
        """Subscribe to a channel."""
        wait_for(self._listener.subscribe(channel))

    def get_message(self, timeout: float) -> Any:
        """Return the next message, None if there is none within `timeout` seconds."""
        return wait_for(self._listener.get_message(timeout=timeout))

    def ping(self, message: str) -> None:
        """Ask the server for a sign of life."""
        wait_for(self._listener.ping(message))

    def close(self) -> None:
        """Close the connection."""
        wait_for(self._listener.aclose())
