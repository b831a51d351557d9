"""What a server needs of a pipeline beyond a producer's methods: uploads, ids, announcements, and its own commands."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from golem_chain.broker.asynchronous.bridge import run
from golem_chain.broker.asynchronous.connection import Client
from golem_chain.broker.asynchronous.ends import Waiter
from golem_chain.broker.asynchronous.pipeline import AsyncPipeline
from golem_chain.broker.connection import reaching
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import checkpoints
from golem_chain.broker.submission import Asked
from golem_chain.shared.records import JobOptions

T = TypeVar("T")
P = ParamSpec("P")


class ServingPipeline(AsyncPipeline):
    """The pipeline of a server, for its one event loop."""

    @asynccontextmanager
    async def announced(self) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set whenever a job of the system has ended. An announcement can be lost: look now and
        then without one."""
        waiter = Waiter(())
        bell = waiter.bell or asyncio.Event()
        with reaching(self.settings):
            async with self._pipeline.ends.joined(waiter):
                yield bell

    async def stay_subscribed(self) -> None:
        """Stay subscribed to the ends of jobs until `close`: for a server, whose clients' waits are short and many."""
        await self._pipeline.ends.stay()

    async def checkpoints(self) -> dict[str, str]:
        """Return the id of each stage's checkpoint that live workers run: see `broker.monitoring.checkpoints.read`."""
        with reaching(self.settings):
            return await run(checkpoints.read, self._client, Keys(self.settings.prefix))

    async def digest(self, asked: Asked, options: JobOptions) -> str:
        """Return a hash of what is asked: the same again has the same. Raises what `submit` raises."""
        return await run(self._pipeline.digest, asked, options)

    async def salt(self) -> bytes:
        """Return the secret from which ids are derived: see `broker.content_id`."""
        return await run(self._pipeline.salt)

    async def append(self, upload: str, before_bytes: int, part: bytes, expected_bytes: int, wait_s: float) -> None:
        """Append a part to an upload: see `Uploads.append`."""
        await self._undone(self.call(self._pipeline.uploads.append, upload, before_bytes, part, expected_bytes, wait_s))

    async def discard(self, upload: str) -> None:
        """Drop an upload: see `Uploads.discard`."""
        await self.call(self._pipeline.uploads.discard, upload)

    @property
    def client(self) -> Client:
        """The connection, for code inside of `call`."""
        return self._client

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call code that is written for redis-py's synchronous client, over `client`; the event loop goes on meanwhile.
        It may not block in another way."""
        with reaching(self.settings):
            return await run(function, *args, **kwargs)
