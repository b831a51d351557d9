"""Each owner has jobs and groups of its own: those of others are as unknown as what never was."""

import asyncio

import pytest

from golem_chain.broker.asynchronous.owned import GROUP_MOST, Known, OwnedPipeline
from golem_chain.broker.asynchronous.serving import ServingPipeline
from golem_chain.broker.submission import Asked
from golem_chain.shared.errors import BadRequest, GroupCancelled, UnknownGroup, UnknownJob
from golem_chain.shared.records import JobOptions

OPTIONS = JobOptions(stop="interpreter")
MINE, OTHER = "1" * 32, "2" * 32


@pytest.fixture
def run(chain):
    """Runs a coroutine function with the views of two owners of one pipeline."""

    def run(work):
        async def inside():
            async with ServingPipeline(chain.settings) as pipeline:
                known = Known()
                return await work(*(OwnedPipeline(pipeline, one, plain=False, known=known) for one in (MINE, OTHER)))

        return asyncio.run(inside())

    return run


async def ended(owned, job):
    async for outcome in owned.wait([job], 60):
        return outcome
    raise AssertionError(f"{job} has not ended")


async def sentence(awaitable, kind=UnknownJob):
    with pytest.raises(kind) as error:
        await awaitable
    return error.value.message


def test_a_job_of_somebody_else_is_as_unknown_as_one_that_never_was(run):
    async def work(mine, other):
        job = await mine.submit(Asked(text="hello"), OPTIONS, id="my-job")
        assert (await ended(mine, job)).state == "done"
        calls = {
            "outcome": lambda owned, id: owned.outcome(id),
            "cancel": lambda owned, id: owned.cancel(id),
            "promote": lambda owned, id: owned.promote(id),
            "record": lambda owned, id: owned.record(id),
            "wait": ended,
        }
        for call in calls.values():
            told = await sentence(call(other, job))
            assert told == (await sentence(call(other, "no-job"))).replace("no-job", job)
        assert await other.summaries([job, "no-job"]) == [None, None]
        assert await other.older(None, 50) == []
        assert (await mine.outcome(job)).state == "done"
        assert [one.job for one in await mine.older(None, 50)] == [job]
        assert (await mine.record(job)).answers["transcript"].text == "hello"

    run(work)


def test_a_look_tells_where_each_job_is_and_when_it_ended(run):
    async def work(mine, other):
        del other
        first = await mine.submit(Asked(text="hello"), OPTIONS, id="first", name="greeting")
        await ended(mine, first)
        second = await mine.submit(Asked(b"sleep 30"), OPTIONS.model_copy(update={"group": "night"}), id="second")
        while (await mine.summary(second)).state == "waiting":
            await asyncio.sleep(0.02)
        running, nothing, over = await mine.summaries(["second", "nothing", "first"])
        assert nothing is None
        assert (over.state, over.name, over.stage) == ("done", "greeting", None)
        assert over.ended_at - over.submitted_at < 60
        assert (running.state, running.stage, running.group) == ("running", "scribe", "night")
        assert await mine.unfinished(100) == 1
        assert await mine.unfinished(0) == 0
        await mine.cancel(second)
        assert await mine.unfinished(100) == 0

    run(work)


def test_a_group_of_the_same_name_is_another_group_for_each_owner(run):
    async def work(mine, other):
        grouped = OPTIONS.model_copy(update={"group": "shared"})
        await mine.submit(Asked(text="a"), grouped, id="shared-1")
        assert "'shared'" in await sentence(other.group("shared").status(), UnknownGroup)
        await other.submit(Asked(text="a"), grouped, id="shared-2")
        assert (await mine.group("shared").status()).jobs == (await other.group("shared").status()).jobs == 1
        assert [end.job async for end in mine.group("shared").wait(timeout_s=60)] == ["shared-1"]
        await other.group("shared").cancel()
        assert "group shared was" in await sentence(
            other.submit(Asked(text="b"), grouped, id="shared-3"), GroupCancelled
        )
        await mine.submit(Asked(text="b"), grouped, id="shared-4")
        long = OPTIONS.model_copy(update={"group": "x" * (GROUP_MOST + 1)})
        await sentence(mine.submit(Asked(text="b"), long, id="y"), BadRequest)

    run(work)


def test_the_first_owner_keeps_a_job_that_another_one_submits_again(run):
    async def work(mine, other):
        await mine.submit(Asked(text="a"), OPTIONS, id="same")
        await other.submit(Asked(text="a"), OPTIONS, id="same")
        await ended(mine, "same")
        await sentence(other.outcome("same"))

    run(work)
