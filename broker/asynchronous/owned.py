"""One owner's view of a pipeline: every job that it is asked for must be one of the owner's."""

from collections.abc import AsyncGenerator, Iterable, Sequence

from golem_chain.broker.asynchronous.group import AsyncGroup
from golem_chain.broker.asynchronous.pipeline import AsyncPipeline
from golem_chain.broker.jobs.listing import Listed
from golem_chain.broker.jobs.summaries import Place, Summary
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

    async def older(self, before: Place | None, most: int) -> list[Place]:
        """Return the next `most` of the owner's jobs, newest first, after a place of the list; None: the newest."""
        return await self._pipeline.older(self._owner, before, most)

    async def summaries(self, jobs: Sequence[str]) -> list[Summary | None]:
        """Return each job in short; None for one that is not known, or not the owner's."""
        return await self._pipeline.summaries(self._owner, jobs)

    def group(self, name: str) -> AsyncGroup:
        """Return a group of the owner's."""
        return self._pipeline.group(name)
