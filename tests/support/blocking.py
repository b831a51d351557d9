"""AsyncPipeline with the methods of Pipeline, so that a test of one is a test of both."""

import asyncio
import threading

from golem_chain.broker.asynchronous.pipeline import AsyncPipeline
from golem_chain.broker.connection import connect
from golem_chain.broker.jobs.groups import FIRST
from golem_chain.broker.jobs.outcomes import Outcomes


class Blocking:
    """Each method runs its coroutine on an event loop in a thread of its own, and waits for it."""

    def __init__(self, settings):
        self.settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._pipeline = AsyncPipeline(settings)
        self._client = connect(settings)
        self._outcomes = Outcomes(settings, self._client)  # to end jobs with, as a worker does

    def __getattr__(self, name):
        method = getattr(self._pipeline, name)
        return lambda *args, **given: self._do(method(*args, **given))

    def wait(self, jobs, timeout_s=None):
        """See `Pipeline.wait`."""
        return self._each(self._pipeline.wait(jobs, timeout_s))

    def group(self, name):
        """See `Pipeline.group`."""
        return BlockingGroup(self._pipeline.group(name), self)

    def close(self):
        """See `Pipeline.close`."""
        self._do(self._pipeline.close())
        left = self._do(self._others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._client.close()
        assert not left, f"tasks were left behind: {left}"

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.close()

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _others(self):
        return asyncio.all_tasks() - {asyncio.current_task()}

    def _each(self, found):
        async def following():
            return await anext(found, None)

        try:
            while (one := self._do(following())) is not None:
                yield one
        finally:
            self._do(found.aclose())


class BlockingGroup:
    """AsyncGroup with the methods of Group."""

    def __init__(self, group, pipeline):
        self._group, self._pipeline = group, pipeline

    def __getattr__(self, name):
        method = getattr(self._group, name)
        return lambda *args, **given: self._pipeline._do(method(*args, **given))

    def wait(self, since=FIRST, timeout_s=None):
        """See `Group.wait`."""
        return self._pipeline._each(self._group.wait(since, timeout_s))
