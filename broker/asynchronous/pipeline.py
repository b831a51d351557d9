"""The Python API for asyncio: the methods of `Pipeline`, over redis-py's asyncio client.

async with AsyncPipeline() as pipeline:
    job = await pipeline.submit("clip.wav", labels="lights_on,music_stop", lane="interactive")
    async for outcome in pipeline.wait([job]):
        print(outcome.transcript.text, outcome.intent.label, outcome.reply.text)
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar

from golem_chain.broker.asynchronous.bridge import in_thread, pause, run
from golem_chain.broker.asynchronous.connection import Client
from golem_chain.broker.asynchronous.ends import Ends
from golem_chain.broker.asynchronous.group import AsyncGroup
from golem_chain.broker.connection import reaching
from golem_chain.broker.jobs.listing import Listed
from golem_chain.broker.jobs.options import make_options
from golem_chain.broker.jobs.uploads import Uploaded
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.submission import Asked, Submitted
from golem_chain.shared.records import (
    JobOptions,
    LabelSet,
    Lane,
    OracleParams,
    Outcome,
    StageName,
    Task,
    Vocabulary,
)
from golem_chain.shared.settings import Settings

T = TypeVar("T")
P = ParamSpec("P")


class _Bridged(Pipeline):
    """A pipeline for code inside of `bridge.run`."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self.settings = settings
        self._use(client, pause, in_thread)
        self.ends = Ends(client, Keys(settings.prefix), self._outcomes)

    def group_of(self, name: str) -> AsyncGroup:
        return AsyncGroup(name, self._groups, self.ends, self.settings)

    def digest(self, asked: Asked, options: JobOptions) -> str:
        return self._submitter.digest(asked, options)

    def salt(self) -> bytes:
        return self._submitter.salt()


class AsyncPipeline:
    """A producer's client for one event loop. Every method raises BrokerAway if Redis fails.

    All its coroutines together use at most 17 connections, however many there are: 16 for commands, one to hear of
    ends. Files are read in threads.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.read()
        self._client = Client(self.settings)
        self._pipeline = _Bridged(self.settings, self._client)
        self._undoing: set[asyncio.Task[Any]] = set()

    async def submit(
        self,
        audio: str | Path | bytes | None = None,
        *,
        text: str | None = None,
        intent: str | None = None,
        stop: StageName | None = None,
        labels: str | Path | LabelSet | None = None,
        vocabulary: str | Vocabulary | None = None,
        language: str | None = None,
        task: Task = "transcribe",
        word_times: bool = False,
        oracle: OracleParams | None = None,
        initial_prompt: str | None = None,
        scribe_temperature: float | None = None,
        hotwords: str | Sequence[str] | None = None,
        lane: Lane = "bulk",
        expires_s: float | None = None,
        group: str | None = None,
        webhook: str | None = None,
        id: str | None = None,
        id_from: Literal["content"] | None = None,
        name: str | None = None,
        wait_s: float = 60.0,
    ) -> str:
        """Submit one job and return its id: see `Pipeline.submit`.

        If it is cancelled, the job is submitted or forgotten: with an `id` of your own you can ask which.
        """

        def options() -> JobOptions:
            return make_options(
                stop=stop,
                labels=labels,
                vocabulary=vocabulary,
                language=language,
                task=task,
                word_times=word_times,
                oracle=oracle,
                initial_prompt=initial_prompt,
                scribe_temperature=scribe_temperature,
                hotwords=hotwords,
                lane=lane,
                expires_s=expires_s,
                group=group,
                webhook=webhook,
            )

        files = any(one is not None for one in (labels, vocabulary, hotwords))  # they may name some
        prepared = await asyncio.to_thread(options) if files else options()
        return await self.submit_with(
            audio, prepared, text=text, intent=intent, id=id, id_from=id_from, name=name, wait_s=wait_s
        )

    async def submit_with(
        self,
        audio: str | Path | bytes | Uploaded | None,
        options: JobOptions,
        *,
        text: str | None = None,
        intent: str | None = None,
        id: str | None = None,
        id_from: Literal["content"] | None = None,
        again: str | None = None,
        name: str | None = None,
        wait_s: float = 60.0,
        owner: str | None = None,
    ) -> str:
        """Like `submit`, with prepared options that several jobs can share: see `Pipeline.submit_with`."""

        def submit() -> str:
            return self._pipeline.submit_with(
                audio,
                options,
                text=text,
                intent=intent,
                id=id,
                id_from=id_from,
                again=again,
                name=name,
                wait_s=wait_s,
                owner=owner,
            )

        return await self._undone(run(submit))

    async def submit_many(
        self,
        audio: Iterable[str | Path | bytes] = (),
        options: JobOptions | None = None,
        *,
        texts: Iterable[str] = (),
        ids: Iterable[str] | None = None,
        id_from: Literal["content"] | None = None,
        names: Iterable[str] | None = None,
        wait_s: float = 60.0,
    ) -> list[Submitted]:
        """Submit many jobs with the same options, some hundred in one round trip: see `Pipeline.submit_many`."""

        def submit() -> list[Submitted]:
            return self._pipeline.submit_many(
                audio, options, texts=texts, ids=ids, id_from=id_from, names=names, wait_s=wait_s
            )

        return await self._undone(run(submit))

    async def promote(self, job: str) -> bool:
        """Move a waiting job before all others: see `Pipeline.promote`."""
        return await run(self._pipeline.promote, job)

    async def mine(self, first: int = 0, most: int = 50) -> list[Listed]:
        """Return the jobs that this owner has submitted, newest first: see `Pipeline.mine`."""
        return await run(self._pipeline.mine, first, most)

    def group(self, name: str) -> AsyncGroup:
        """Return a group of jobs. Costs nothing and does not fail if there is none."""
        return self._pipeline.group_of(name)

    async def outcome(self, job: str) -> Outcome | None:
        """Return a job's Outcome, None while it is unfinished. Raises BadRequest if Redis does not know the job."""
        return await run(self._pipeline.outcome, job)

    async def wait(self, jobs: Iterable[str], timeout_s: float | None = None) -> AsyncGenerator[Outcome, None]:
        """Yield each job's Outcome as it ends; stop after `timeout_s` seconds (None: never).

        Survives a restart of Redis. Raises BadRequest if Redis does not know a job. Any number of coroutines may wait:
        one subscription serves all.
        """
        with reaching(self.settings):
            async with aclosing(self._pipeline.ends.wait(jobs, timeout_s)) as outcomes:
                async for outcome in outcomes:
                    yield outcome

    async def progress(self, jobs: Iterable[str]) -> dict[str, int]:
        """Return for each stage how many of these jobs have finished it or have ended."""
        return await run(self._pipeline.progress, jobs)

    async def cancel(self, job: str) -> Outcome:
        """Cancel a job and return its Outcome: see `Pipeline.cancel`."""
        return await run(self._pipeline.cancel, job)

    async def close(self) -> None:
        """End the waits that go on, and close the connections."""
        await self._pipeline.ends.close()
        if self._undoing:
            await asyncio.wait(self._undoing)
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _undone(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work in a task of its own: if we are cancelled, it is too, and undoes what it has begun in peace, even
        where a framework goes on to cancel us."""
        task = asyncio.ensure_future(work)
        self._undoing.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._undoing.discard(task)
        if not task.cancelled():
            task.exception()  # if we were cancelled, nobody else asks
