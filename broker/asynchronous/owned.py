"""One owner's view of a pipeline: every job that it is asked for must be one of the owner's."""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager

from golem_chain.broker.asynchronous.group import AsyncGroup
from golem_chain.broker.asynchronous.serving import ServingPipeline
from golem_chain.broker.jobs.groups import FIRST, End, GroupStatus
from golem_chain.broker.jobs.label_sets import LabelSets
from golem_chain.broker.jobs.outcomes import unknown
from golem_chain.broker.jobs.ownership import Owned
from golem_chain.broker.jobs.records import Finished
from golem_chain.broker.jobs.summaries import Place, Summaries, Summary
from golem_chain.broker.keys import Keys
from golem_chain.broker.submission import Asked
from golem_chain.shared.errors import BadRequest, GroupCancelled, UnknownGroup, UnknownJob
from golem_chain.shared.records import JobOptions, LabelSet, Outcome
from golem_chain.shared.text import NAME

#: Jobs whose owner is remembered. An owner never changes.
KNOWN_MOST = 10_000
#: Digits of an owner's mark in the name of a group, and what they leave of the 64 characters that it can have.
_MARK_DIGITS = 16
GROUP_MOST = 64 - _MARK_DIGITS - 1


class Known:
    """Which jobs were found to be whose, so that the next look at one costs no round trip. One for each door."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, owner: str, job: str) -> None:
        """Remember a job."""
        self._jobs[owner, job] = None
        self._jobs.move_to_end((owner, job))
        if len(self._jobs) > KNOWN_MOST:
            self._jobs.popitem(last=False)

    def __contains__(self, one: tuple[str, str]) -> bool:
        return one in self._jobs


class OwnedPipeline:
    """The jobs of one owner, of one pipeline that many share. A job of somebody else is as unknown as one that never
    was: UnknownJob. Every method raises BrokerAway if Redis fails.

    `plain`: groups have the names that are given, as on the command line; else each owner has names of its own.
    """

    def __init__(
        self, pipeline: ServingPipeline, owner: str, *, plain: bool = True, known: Known | None = None
    ) -> None:
        self._pipeline, self._owner, self._known = pipeline, owner, known or Known()
        self._mark = "" if plain else f"{hashlib.sha256(owner.encode()).hexdigest()[:_MARK_DIGITS]}."

    async def submit(
        self,
        asked: Asked,
        options: JobOptions,
        *,
        id: str,
        name: str | None = None,
        wait_s: float = 1.0,
        secret: bool = False,
    ) -> str:
        """Submit a job under an id and return it: see `Pipeline.submit_with`. `secret`: nobody else can know the id, so
        that the job is the owner's, whoever submits it first."""
        options = self._inside(options)
        with self._shown():
            job = await self._pipeline.submit_with(
                asked.audio,
                options,
                text=asked.text,
                intent=asked.intent,
                id=id,
                name=name,
                wait_s=wait_s,
                owner=self._owner,
            )
        if secret:
            self._known.add(self._owner, job)
        return job

    async def outcome(self, job: str) -> Outcome | None:
        """Return a job's Outcome, None while it is unfinished."""
        await self._check([job])
        return await self._pipeline.outcome(job)

    async def wait(self, jobs: Iterable[str], timeout_s: float | None = None) -> AsyncGenerator[Outcome, None]:
        """Yield each job's Outcome as it ends; stop after `timeout_s` seconds (None: never)."""
        ids = list(jobs)
        await self._check(ids)
        async with aclosing(self._pipeline.wait(ids, timeout_s)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def cancel(self, job: str) -> Outcome:
        """Cancel a job and return its Outcome."""
        await self._check([job])
        return await self._pipeline.cancel(job)

    async def promote(self, job: str) -> bool:
        """Move a waiting job before all others; return False if it has ended."""
        await self._check([job])
        return await self._pipeline.promote(job)

    async def older(self, before: Place | None, most: int) -> list[Place]:
        """Return the next `most` of the owner's jobs, newest first, after a place of the list; None: the newest."""
        return await self._pipeline.call(lambda: self._summaries.older(self._owner, before, most))

    async def summaries(self, jobs: Sequence[str]) -> list[Summary | None]:
        """Return each job in short; None for one that is unknown."""
        found = await self._pipeline.call(lambda: self._summaries.look(self._owner, jobs))
        return [one and one._replace(group=self._outside(one.group)) for one in found]

    async def summary(self, job: str) -> Summary:
        """Return a job in short."""
        [found] = await self.summaries([job])
        if found is None:
            raise self.unknown(job)
        return found

    def unknown(self, job: str) -> UnknownJob:
        """Return the error for a job that there is not, or that is somebody else's."""
        return unknown(job, self._pipeline.settings.keep_s)

    async def label_set(self, name: str) -> LabelSet | None:
        """Return a label set that the owner has stored; None if there is none of this name."""
        return await self._pipeline.call(self._label_sets.get, name)

    async def label_sets(self) -> list[str]:
        """Return the names of the label sets that the owner has stored."""
        return await self._pipeline.call(self._label_sets.names)

    async def put_label_set(self, name: str, labels: LabelSet) -> None:
        """Store a label set. Raises BadLabels if it is too large or there are too many."""
        await self._pipeline.call(self._label_sets.put, name, labels)

    async def drop_label_set(self, name: str) -> bool:
        """Delete a stored label set; return False if there is none of this name."""
        return await self._pipeline.call(self._label_sets.drop, name)

    def announced(self) -> AbstractAsyncContextManager[asyncio.Event]:
        """Yield an event that is set whenever a job has ended, whose ever it is: see `ServingPipeline.announced`."""
        return self._pipeline.announced()

    async def clock(self) -> float:
        """Return the server's time, Unix seconds."""
        seconds, micros = await self._pipeline.call(self._pipeline.client.time)
        return seconds + micros / 1e6

    async def record(self, job: str) -> Finished:
        """Return what is stored of a job, with the full answers of the stages that it has finished."""
        return await self._pipeline.call(lambda: self._jobs.record(job))

    async def known(self, jobs: Sequence[str]) -> bool:
        """Return whether there is a record under any of these ids, whoever's."""
        return await self._pipeline.call(lambda: self._jobs.known(jobs))

    async def states(self, jobs: Sequence[str]) -> list[str | None]:
        """Return for each of the jobs the state of its Outcome, `waiting` if there is none, None if it is unknown."""
        return await self._pipeline.call(lambda: self._jobs.states(jobs))

    async def want(self, job: str) -> None:
        """Note that a client asks for a job again."""
        await self._pipeline.call(lambda: self._jobs.want(job, time.time()))

    async def wanted(self, job: str, since: float) -> bool:
        """Return whether a client has asked for a job again since this Unix time."""
        return await self._pipeline.call(lambda: self._jobs.wanted(job, since))

    async def unfinished(self, most: int) -> int:
        """Return how many of the newest `most` jobs have not ended."""
        return await self._pipeline.call(lambda: self._jobs.unfinished(most))

    def group(self, name: str) -> "OwnedGroup":
        """Return a group of the owner's."""
        return OwnedGroup(name, self._pipeline.group(f"{self._mark}{self._checked(name)}"))

    # -- inside

    @property
    def _jobs(self) -> Owned:
        settings = self._pipeline.settings
        return Owned(self._pipeline.client, Keys(settings.prefix), settings.keep_s, self._owner)

    @property
    def _label_sets(self) -> LabelSets:
        return LabelSets(self._pipeline.client, Keys(self._pipeline.settings.prefix), self._owner)

    @property
    def _summaries(self) -> Summaries:
        return Summaries(self._pipeline.client, Keys(self._pipeline.settings.prefix))

    async def _check(self, jobs: Sequence[str]) -> None:
        """Raise UnknownJob for a job that is not the owner's."""
        if asked := [job for job in jobs if (self._owner, job) not in self._known]:
            await self._pipeline.call(lambda: self._jobs.check(asked))
            for job in asked:
                self._known.add(self._owner, job)

    def _checked(self, name: str) -> str:
        most = GROUP_MOST if self._mark else 64
        if not re.fullmatch(NAME, name) or len(name) > most:
            raise BadRequest(f"{name[:80]!a} is no name of a group: use up to {most} letters, digits, dots, - and _.")
        return name

    def _inside(self, options: JobOptions) -> JobOptions:
        if not options.group or not self._mark:
            return options
        return options.model_copy(update={"group": f"{self._mark}{self._checked(options.group)}"})

    def _outside(self, group: str | None) -> str | None:
        return group.removeprefix(self._mark) if group else None

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """Show a group under the name that its owner knows."""
        try:
            yield
        except GroupCancelled as exc:
            raise GroupCancelled(exc.message.replace(self._mark, "", 1)) from None


class OwnedGroup:
    """A group of one owner's, as AsyncGroup."""

    def __init__(self, name: str, group: AsyncGroup) -> None:
        self.name, self._group = name, group

    async def status(self) -> GroupStatus:
        """See `Group.status`. Raises UnknownGroup, BrokerAway, as do the others."""
        with self._shown():
            return await self._group.status()

    async def cancel(self) -> GroupStatus:
        """See `Group.cancel`."""
        with self._shown():
            return await self._group.cancel()

    async def ends(self, since: str = FIRST) -> list[End]:
        """See `Group.ends`."""
        return await self._group.ends(since)

    async def now(self) -> str:
        """See `Group.now`."""
        return await self._group.now()

    async def wait(self, since: str = FIRST, timeout_s: float | None = None) -> AsyncGenerator[End, None]:
        """See `AsyncGroup.wait`."""
        with self._shown():
            async with aclosing(self._group.wait(since, timeout_s)) as ends:
                async for end in ends:
                    yield end

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """Show the group under the name that its owner knows."""
        try:
            yield
        except UnknownGroup as exc:
            raise UnknownGroup(exc.message.replace(self._group.name, self.name, 1)) from None
