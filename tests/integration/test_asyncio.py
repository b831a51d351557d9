"""What is particular to asyncio: many coroutines share few connections, and a cancelled one leaves nothing behind."""

import asyncio
import json
import threading
import time

import pytest

from golem_chain.broker import submission
from golem_chain.broker.asynchronous import ends
from golem_chain.broker.asynchronous.connection import CONNECTIONS, Client
from golem_chain.broker.asynchronous.pipeline import AsyncPipeline
from golem_chain.broker.asynchronous.serving import ServingPipeline
from golem_chain.broker.connection import connect
from golem_chain.broker.jobs import outcomes, vault
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.keys import Keys
from golem_chain.broker.submission import Submitter
from golem_chain.shared.errors import BadRequest, BrokerAway
from golem_chain.shared.records import JobOptions
from golem_chain.shared.settings import Settings

keys = Keys()
MANY = ",".join(f'label_{n}="the speaker wants thing number {n}"' for n in range(200))


def run(settings, main):
    """Run a coroutine function with a pipeline of its own; fail if it leaves a task behind."""

    async def running():
        async with ServingPipeline(settings) as pipeline:
            await main(pipeline)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "tasks were left behind"

    asyncio.run(running())


def connections(client, kind=None):
    """How many connections the server has beside that of `client`."""
    return len(client.client_list(_type=kind)) - (kind is None)


async def until(condition, within_s=60):
    """As the fixture `eventually`, for coroutines."""
    end = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    return found


async def first(pipeline, job):
    return [outcome async for outcome in pipeline.wait([job])]


# -- many


def test_a_thousand_coroutines_submit_and_wait_over_few_connections(settings, client):
    ends, most = Outcomes(settings, client), 0

    async def main(pipeline):
        async def one(n):
            job = await pipeline.submit(text=f"words {n}")
            return job, await first(pipeline, job)

        def end():
            nonlocal most
            ended: set[str] = set()
            while len(ended) < 1000:
                most = max(most, connections(client))
                for raw in client.lrange(keys.queue("interpreter"), 0, -1):
                    job = json.loads(raw)["headers"]["id"].partition(".")[0]
                    if job not in ended:
                        ended.add(job)
                        ends.end(job, "cancelled")

        ending = asyncio.create_task(asyncio.to_thread(end))
        found = await asyncio.gather(*(one(n) for n in range(1000)))
        await ending
        assert all([outcome.job for outcome in told] == [job] for job, told in found)
        assert len({job for job, _ in found}) == 1000

    run(settings, main)
    assert 1 < most <= CONNECTIONS + 1


def test_many_that_wait_for_the_same_jobs_are_all_told(settings, client):
    ends = Outcomes(settings, client)

    async def main(pipeline):
        jobs = [one.id for one in await pipeline.submit_many(texts=["a", "b"], options=JobOptions(group="night"))]
        waits = [asyncio.ensure_future(first(pipeline, job)) for job in jobs * 10]
        everything = [asyncio.ensure_future(collected(pipeline.wait(jobs))) for _ in range(5)]
        groups = [asyncio.ensure_future(collected(pipeline.group("night").wait())) for _ in range(5)]
        await until(lambda: connections(client, "pubsub") == 1)
        for job in jobs:
            assert ends.end(job, "cancelled")
        assert [told[0].job for told in await asyncio.gather(*waits)] == jobs * 10
        for told in await asyncio.gather(*everything, *groups):
            assert [one.job for one in told] == jobs
        assert connections(client, "pubsub") == 0, "nobody waits any more"

    run(settings, main)


async def collected(found):
    return [one async for one in found]


# -- cancellation


def test_a_cancelled_wait_leaves_no_subscription_and_no_task_behind(settings, client):
    async def main(pipeline):
        job = await pipeline.submit(text="words", group="night")
        before = asyncio.all_tasks()
        for wait in (lambda: pipeline.wait([job]), lambda: pipeline.group("night").wait()):
            for pause_s in (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.5):  # before, while and after it subscribes
                waiting = asyncio.create_task(collected(wait()))
                await asyncio.sleep(pause_s)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert asyncio.all_tasks() == before
                await until(lambda: connections(client, "pubsub") == 0)

    run(settings, main)


def test_a_wait_that_is_cancelled_disturbs_no_other(settings, client):
    async def main(pipeline):
        job = await pipeline.submit(text="words")
        stays, goes = asyncio.create_task(first(pipeline, job)), asyncio.create_task(first(pipeline, job))
        await until(lambda: connections(client, "pubsub") == 1)
        goes.cancel()
        await asyncio.wait([goes])
        Outcomes(settings, client).end(job, "cancelled")
        assert [outcome.job for outcome in await stays] == [job]

    run(settings, main)


def test_a_cancelled_submit_is_a_whole_job_or_none(settings, client, monkeypatch):
    """Cancelled at each of its commands in turn. What it had stored is deleted, and what cannot be known, whether a
    command that was under way was obeyed, does no harm to the next submit under the same id."""
    count, at, storing, fates, send, store = 0, 0, False, set(), Client._execute, Submitter._store
    submitting: asyncio.Task[str]

    async def counted(self, args, options):
        nonlocal count
        count += 1
        if count == at:
            fates.add("while storing" if storing else "before or after")
            submitting.cancel()
        return await send(self, args, options)

    def stores(self, *args):
        nonlocal storing
        storing = True
        store(self, *args)
        storing = False  # not if it was cancelled

    async def main(pipeline):
        nonlocal count, at, storing, submitting
        cancelled = True
        while cancelled:
            client.flushall()
            count, at, storing = 0, at + 1, False
            submitting = asyncio.create_task(pipeline.submit(b"sound", id="mine", labels=MANY))
            await asyncio.wait([submitting])
            cancelled = submitting.cancelled()
            if storing:
                assert not client.exists(keys.job("mine"), keys.audio("mine"), keys.queue("scribe"))
            assert cancelled or client.llen(keys.queue("scribe")) == 1
            assert await pipeline.submit(b"sound", id="mine", labels=MANY) == "mine"
            assert client.llen(keys.queue("scribe")) == client.exists(keys.audio("mine")) == 1

    monkeypatch.setattr(Client, "_execute", counted)
    monkeypatch.setattr(Submitter, "_store", stores)
    run(settings, main)
    assert at > 5
    assert fates == {"while storing", "before or after"}


def test_a_timeout_around_a_command_ends_it_although_the_server_hangs(settings, client):
    async def main(pipeline):
        await pipeline.submit(text="words", id="mine")
        client.execute_command("CLIENT", "PAUSE", "1500")
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await pipeline.outcome("mine")
        assert time.monotonic() - begun < 1
        assert await pipeline.outcome("mine") is None, "the answer of the other command is not taken for that of this"

    run(settings, main)


# -- closing, and a server that is away


def test_a_quiet_group_is_waited_for_without_spinning(settings, monkeypatch):
    looks, look = 0, ends._Listening._look_once

    async def counted(listening):
        nonlocal looks
        looks += 1
        await look(listening)

    monkeypatch.setattr(ends._Listening, "_look_once", counted)

    async def main(pipeline):
        await pipeline.submit(text="a", group="quiet")
        assert [end async for end in pipeline.group("quiet").wait(timeout_s=2.5)] == []

    run(settings, main)
    assert looks < 20


def test_who_stays_subscribed_waits_without_new_connections(settings, client):
    async def main(pipeline):
        staying = asyncio.create_task(pipeline.stay_subscribed())
        await until(lambda: connections(client, "pubsub") == 1)
        await pipeline.submit(text="a", id="warm")
        before = client.info("stats")["total_connections_received"]
        for n in range(20):
            job = await pipeline.submit(text="a", id=f"job{n}")
            waiting = asyncio.create_task(first(pipeline, job))
            await asyncio.sleep(0)
            await pipeline.cancel(job)
            assert [outcome.state for outcome in await waiting] == ["cancelled"]
        assert client.info("stats")["total_connections_received"] - before <= 2
        staying.cancel()
        await asyncio.wait([staying])
        await until(lambda: connections(client, "pubsub") == 0)

    run(settings, main)


def test_closing_ends_a_stay(settings):
    async def main(pipeline):
        staying = asyncio.create_task(pipeline.stay_subscribed())
        await asyncio.sleep(0.1)
        await pipeline.close()
        await asyncio.wait_for(staying, 10)

    run(settings, main)


def test_closing_ends_the_waits_with_a_sentence(settings):
    async def main(pipeline):
        job = await pipeline.submit(text="words")
        waiting = asyncio.create_task(first(pipeline, job))
        await asyncio.sleep(0.1)
        await pipeline.close()
        with pytest.raises(BadRequest, match="closed while jobs were waited for"):
            await waiting

    run(settings, main)


def test_another_event_loop_is_refused_in_a_sentence(settings):
    pipeline = AsyncPipeline(settings)
    uses = (
        lambda: pipeline.outcome("mine"),
        lambda: pipeline.submit(text="words"),
        lambda: collected(pipeline.wait(["mine"])),
        lambda: collected(pipeline.group("night").wait()),
    )
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(pipeline.submit(text="words", id="mine", group="night"))
        for use in uses:
            with pytest.raises(BadRequest, match="belongs to the event loop that used it first"):
                second.run(use())
        first.run(pipeline.close())


def test_a_thousand_waits_and_one_for_a_group_ride_out_a_restart_of_redis(start_server, tmp_path):
    with start_server(tmp_path, appendonly=True, fsync="always") as server:
        settings = Settings.read(_env_file=None, redis_url=server.url)

        async def main(pipeline):
            await pipeline.submit_many(texts=["a", "b"], options=JobOptions(group="night"), ids=["one", "two"])
            with connect(settings, 20) as client:
                Outcomes(settings, client).end("one", "failed")
                waiting = asyncio.create_task(collected(pipeline.group("night").wait()))
                waits = [asyncio.create_task(first(pipeline, "two")) for _ in range(1000)]
                await asyncio.sleep(0.2)
                await asyncio.to_thread(server.restart)
                Outcomes(settings, client).end("two", "failed")
                assert connections(client) <= CONNECTIONS + 1
            assert [end.job for end in await waiting] == ["one", "two"]
            assert all([outcome.job for outcome in told] == ["two"] for told in await asyncio.gather(*waits))

        run(settings, main)


def test_waits_fail_in_a_sentence_if_redis_stays_away(start_server, tmp_path, monkeypatch):
    monkeypatch.setattr(outcomes, "AWAY_S", 0.5)
    server = start_server(tmp_path)
    settings = Settings.read(_env_file=None, redis_url=server.url)

    async def main(pipeline):
        await pipeline.submit(text="a", id="one", group="night")
        waits = [collected(pipeline.wait(["one"])), collected(pipeline.group("night").wait())]
        waiting = [asyncio.create_task(one) for one in waits]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.stop)
        for failed in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failed, BrokerAway)
            assert "cannot be reached" in failed.message

    run(settings, main)


# -- the event loop


def test_files_are_read_in_other_threads(settings, tmp_path, monkeypatch):
    threads, read = [], vault.read_file

    def reads(*args):
        threads.append(threading.current_thread())
        return read(*args)

    monkeypatch.setattr(submission, "read_file", reads)
    (tmp_path / "clip.wav").write_bytes(b"sound")

    async def main(pipeline):
        await pipeline.submit(tmp_path / "clip.wav")
        await pipeline.submit_many([tmp_path / "clip.wav"])

    run(settings, main)
    assert len(threads) == 2
    assert threading.main_thread() not in threads


def test_a_submit_that_waits_for_space_holds_up_no_other_coroutine(settings, client):
    async def main(pipeline):
        full = await pipeline.submit(b"x" * 900)
        waiting = asyncio.create_task(pipeline.submit(b"y" * 900, wait_s=60))
        await asyncio.sleep(0.2)
        assert await pipeline.outcome(full) is None
        assert not waiting.done()
        Outcomes(settings, client).end(full, "cancelled")
        assert await waiting

    run(settings.model_copy(update={"vault_limit": 1000}), main)
