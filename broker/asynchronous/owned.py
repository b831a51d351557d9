"""One owner's view of a pipeline: every job that it is asked for must be one of the owner's."""

from collections.abc import AsyncGenerator, Iterable

from golem_chain.broker.asynchronous.group import AsyncGroup
from golem_chain.broker.asynchronous.pipeline import AsyncPipeline
from golem_chain.broker.jobs.listing import Listed
from golem_chain.broker.submission import Asked
from golem_chain.shared.records import JobOptions, Outcome


class OwnedPipeline:
    """The jobs of one owner, of one pipeline that many share. A job of somebody else is as unknown as one that never
    was: BadRequest. Every method raises BrokerAway if Redis fails."""

    def __init__(self, pipeline: AsyncPipeline, owner: str) -> None:
        self._pipeline, self._owner = pipeline, owner

    async def submit(self, asked: Asked, options: JobOptions, *, id: str, name: str | None = None) -> str:
        """Submit a job under an id and return it: see `Pipeline.submit_with`."""
        return await self._pipeline.submit_with(
            asked.audio, options, text=asked.text, intent=asked.intent, id=id, name=name, wait_s=1
        )

    async def outcome(self, job: str) -> Outcome | None:
        """Return a job's Outcome, None while it is unfinished."""
        return await self._pipeline.outcome(job)

    async def wait(self, jobs: Iterable[str], timeout_s: float | None = None) -> AsyncGenerator[Outcome, None]:
        """Yield each job's Outcome as it ends; stop after `timeout_s` seconds (None: never)."""
        async for outcome in self._pipeline.wait(jobs, timeout_s):
            yield outcome

    async def cancel(self, job: str) -> Outcome:
        """Cancel a job and return its Outcome."""
        return await self._pipeline.cancel(job)

    async def promote(self, job: str) -> bool:
        """Move a waiting job before all others; return False if it has ended."""
        return await self._pipeline.promote(job)

    async def mine(self, first: int = 0, most: int = 50) -> list[Listed]:
        """Return the owner's jobs, newest first."""
        return await self._pipeline.mine(first, most)

    def group(self, name: str) -> AsyncGroup:
        """Return a group of the owner's."""
        return self._pipeline.group(name)
