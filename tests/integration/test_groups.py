"""Groups, deadlines, lists and the head of the queue, on a real server and, where jobs run, with a real worker."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from golem_chain.broker.jobs.groups import FIRST
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.submission import Asked, Request
from golem_chain.broker.webhooks.outbox import Outbox
from golem_chain.broker.webhooks.policy import Policy
from golem_chain.shared.errors import BadRequest, GroupCancelled
from golem_chain.shared.records import JobOptions
from tests.support.blocking import Blocking
from tests.support.command_count import commands

keys = Keys()


@pytest.fixture(params=[Pipeline, Blocking], ids=["sync", "asyncio"])
def pipeline(request, settings):
    """A pipeline of either kind: what one promises, the other does."""
    with request.param(settings) as made:
        yield made


sync_only = pytest.mark.parametrize("pipeline", [Pipeline], ids=["sync"], indirect=True)


def end(pipeline, job, state="failed"):
    assert pipeline._outcomes.end(job, state)


# -- counting, without a worker


def test_a_group_counts_its_jobs_where_they_are_and_how_they_ended(pipeline):
    jobs = [pipeline.submit(text=f"words {n}", group="night") for n in range(4)]
    jobs += [pipeline.submit(b"x", group="night"), pipeline.submit(b"x")]
    found = pipeline.group("night").status()
    assert (found.jobs, found.ended, found.at) == (5, 0, {"scribe": 1, "interpreter": 4, "oracle": 0})
    assert [found.passed(stage) for stage in found.at] == [4, 0, 0]
    end(pipeline, jobs[0])
    pipeline.cancel(jobs[4])
    found = pipeline.group("night").status()
    assert (found.failed, found.cancelled, found.at) == (1, 1, {"scribe": 0, "interpreter": 3, "oracle": 0})
    assert [found.passed(stage) for stage in found.at] == [5, 2, 2]


def test_a_job_is_counted_once_however_often_it_is_submitted_or_ended(pipeline):
    for _ in range(3):
        pipeline.submit(text="words", group="night", id="it")
    for _ in range(3):
        pipeline._outcomes.end("it", "failed")
    found = pipeline.group("night")
    assert (found.status().jobs, found.status().failed) == (1, 1)
    assert [one.job for one in found.ends()] == ["it"]


def test_the_ends_of_a_group_come_in_their_order_and_go_on_after_a_cursor(pipeline):
    jobs = [pipeline.submit(text=f"words {n}", group="night") for n in range(5)]
    for job in reversed(jobs):
        end(pipeline, job)
    ends = list(pipeline.group("night").wait())
    assert [one.job for one in ends] == jobs[::-1]
    assert {(one.state, one.outcome.state) for one in ends} == {("failed", "failed")}
    assert [one.job for one in pipeline.group("night").wait(since=ends[2].cursor)] == jobs[1::-1]
    assert list(pipeline.group("night").wait(since=ends[-1].cursor)) == []


def test_a_wait_ends_with_the_last_job_at_once(pipeline):
    jobs = [pipeline.submit(text=f"words {n}", group="night") for n in range(3)]
    for job in jobs:
        end(pipeline, job)
    begun = time.monotonic()
    ends = list(pipeline.group("night").wait())
    assert not list(pipeline.group("night").wait(since=ends[-1].cursor))
    assert time.monotonic() - begun < 1


def test_a_wait_that_times_out_can_go_on_where_it_was(pipeline):
    jobs = [pipeline.submit(text=f"words {n}", group="night") for n in range(2)]
    end(pipeline, jobs[0])
    first = list(pipeline.group("night").wait(timeout_s=0.1))
    end(pipeline, jobs[1])
    assert [one.job for one in first] == [jobs[0]]
    assert [one.job for one in pipeline.group("night").wait(since=first[-1].cursor)] == [jobs[1]]


@sync_only
def test_who_waits_for_a_group_hears_something_at_each_tick(pipeline):
    job = pipeline.submit(text="words", group="night")
    watching = pipeline.group("night").watch(tick_s=0.01)
    assert [next(watching), next(watching)] == [None, None]
    end(pipeline, job)
    assert [one.job for one in watching if one] == [job]


def test_a_cursor_of_now_leaves_out_what_ended_before(pipeline):
    old, new = (pipeline.submit(text=f"words {n}", group="night") for n in range(2))
    end(pipeline, old)
    time.sleep(0.01)
    since = pipeline.group("night").now()
    end(pipeline, new)
    assert [one.job for one in pipeline.group("night").ends(since)] == [new]


@pytest.mark.parametrize("cursor", ["yesterday", "1-2-3", ""])
def test_a_cursor_that_is_none_is_refused_in_a_sentence(pipeline, cursor):
    pipeline.submit(text="words", group="night")
    with pytest.raises(BadRequest, match="is no cursor of a group"):
        list(pipeline.group("night").wait(since=cursor))


def test_an_unknown_group_is_refused_in_a_sentence(pipeline):
    for ask in (lambda it: it.status(), lambda it: it.cancel(), lambda it: list(it.wait())):
        with pytest.raises(BadRequest, match="There is no group 'nobody'"):
            ask(pipeline.group("nobody"))
    with pytest.raises(BadRequest, match="group"):
        pipeline.submit(text="words", group="a group")


def test_a_group_expires_with_the_outcome_of_its_last_job(pipeline, client):
    jobs = [pipeline.submit(text=f"words {n}", group="night") for n in range(2)]
    end(pipeline, jobs[0])
    assert client.ttl(keys.group("night")) == client.ttl(keys.group_ends("night")) == -1
    end(pipeline, jobs[1])
    assert 0 < client.ttl(keys.group("night")) <= 3600
    assert 0 < client.ttl(keys.group_ends("night")) <= 3600
    pipeline.submit(text="one more", group="night")
    assert client.ttl(keys.group("night")) == client.ttl(keys.group_ends("night")) == -1


@sync_only
@pytest.mark.parametrize("size", [10, 2000])
def test_a_group_costs_the_same_for_any_number_of_jobs(pipeline, client, size):
    requests = (Request(Asked(None, f"words {n}"), f"j{n}") for n in range(size))
    assert not [one for one in pipeline.stream_many(requests, JobOptions(group="night")) if one.error]
    group = pipeline.group("night")
    with commands(client) as asked:
        group.status()
        list(group.wait(timeout_s=0.01))
        group.cancel()
        assert asked() <= 25


def test_what_a_producer_writes_into_a_group_stops_no_job(pipeline, client):
    client.set(keys.group("odd"), "text")
    client.set(keys.group_ends("odd"), "text")
    client.set(keys.expiring, "text")
    client.set(keys.outbox, "text")
    Outbox(client, keys).open(Policy())
    job = pipeline.submit(text="words", group="odd", expires_s=1, webhook="https://example.org/")
    assert client.llen(keys.queue("interpreter")) == 1
    assert pipeline.cancel(job).state == "cancelled"


# -- many


@sync_only
def test_many_jobs_are_submitted_in_few_round_trips_and_each_once(pipeline, client, monkeypatch):
    sent, send = [], redis.connection.Connection.send_packed_command

    def counted(*args, **options):
        sent.append(1)
        return send(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(redis.connection.Connection, "send_packed_command", counted)
        done = pipeline.submit_many(texts=[f"words {n}" for n in range(400)], options=JobOptions(group="night"))
    assert len(sent) < 20
    assert not [one for one in done if one.error]
    assert len({one.id for one in done}) == client.llen(keys.queue("interpreter")) == 400
    again = pipeline.submit_many(
        texts=[f"words {n}" for n in range(400)], options=JobOptions(group="night"), ids=[one.id for one in done]
    )
    assert [one.id for one in again] == [one.id for one in done]
    assert ({one.before for one in done}, {one.before for one in again}) == ({False}, {True})
    assert client.llen(keys.queue("interpreter")) == pipeline.group("night").status().jobs == 400


def test_one_bad_job_of_many_is_named_and_the_others_are_submitted(pipeline, client, tmp_path):
    good = tmp_path / "good.wav"
    good.write_bytes(b"RIFF")
    done = pipeline.submit_many([good, tmp_path / "none.wav", b"bytes"])
    assert [one.error is None for one in done] == [True, False, True]
    assert "none.wav" in done[1].error.message
    pipeline.submit(text="other words", id="taken")
    done = pipeline.submit_many(texts=["a", "b"], ids=["taken", "free"])
    assert [one.error and one.error.code for one in done] == ["id-taken", None]
    with pytest.raises(BadRequest, match="2 jobs have 1 ids"):
        pipeline.submit_many(texts=["a", "b"], ids=["free"])


def test_a_vault_smaller_than_one_round_trip_takes_all_of_many(settings, client, tmp_path):
    few = settings.model_copy(update={"vault_limit": 2500})
    with Pipeline(few) as pipeline, ThreadPoolExecutor(1) as other:
        made = JobOptions(group="night")
        work = other.submit(pipeline.submit_many, [bytes([n]) * 1000 for n in range(6)], made, wait_s=20)
        while not work.done():
            for key in client.scan_iter(keys.job("*")):
                if client.hexists(key, "queued"):
                    pipeline._outcomes.end(key.decode().removeprefix(keys.job("")), "failed")
        assert [one.error for one in work.result()] == [None] * 6


def test_a_vault_that_stays_full_is_waited_for_once(settings, client):
    with Pipeline(settings.model_copy(update={"vault_limit": 2500})) as pipeline:
        begun = time.monotonic()
        done = pipeline.submit_many([bytes([n]) * 1000 for n in range(6)], wait_s=0.5)
        assert time.monotonic() - begun < 2
    assert [one.error and one.error.code for one in done] == [None, None, *["vault-full"] * 4]
    assert len(list(client.scan_iter(keys.job("*")))) == client.llen(keys.queue("scribe")) == 2


@sync_only
def test_a_server_that_lost_its_scripts_in_between_loses_no_job_of_many(pipeline, client):
    texts = (Request(Asked(None, "words"), f"j{n}") for n in range(3))
    publisher = pipeline._submitter._publisher
    single = publisher._submit._single

    def flushed(*call):
        answer = single(*call)
        client.script_flush()
        publisher._submit._single = single
        return answer

    publisher._submit._single = flushed
    assert [one.error for one in pipeline.stream_many(texts, JobOptions())] == [None] * 3
    assert client.llen(keys.queue("interpreter")) == 3


# -- cancelled while it is submitted


def test_a_cancelled_group_takes_no_further_job(pipeline, client):
    pipeline.submit(text="words", group="night")
    assert pipeline.group("night").cancel().cancelled_at
    with pytest.raises(GroupCancelled, match="The group night was cancelled"):
        pipeline.submit(b"late", group="night", id="late")
    assert not client.exists(keys.job("late"))
    assert not client.exists(keys.audio("late"))
    late = pipeline.submit_many(texts=["a", "b"], options=JobOptions(group="night"))
    assert [one.error.code for one in late] == ["group-cancelled"] * 2
    assert pipeline.group("night").status().jobs == 1


# -- lists


def test_a_submitter_lists_its_jobs_in_pages_and_no_other_does(pipeline, settings, client):
    mine = [pipeline.submit(text=f"words {n}", name=f"n{n}") for n in range(5)]
    end(pipeline, mine[1])
    client.delete(keys.job(mine[3]))
    page = pipeline.mine()
    assert [(one.job, one.name, one.state, one.at) for one in page] == [
        (mine[4], "n4", "waiting", "interpreter"),
        (mine[2], "n2", "waiting", "interpreter"),
        (mine[1], "n1", "failed", None),
        (mine[0], "n0", "waiting", "interpreter"),
    ]
    assert [one.job for one in pipeline.mine(first=1, most=2)] == [mine[2]], "the one in between has expired"
    with Pipeline(settings.model_copy(update={"owner": "somebody else"})) as other:
        assert other.mine() == []


# -- with a worker


def test_a_job_that_is_moved_to_the_head_runs_before_those_that_came_first(chain):
    chain.stop_worker()
    jobs = [chain.pipeline.submit(f"words {n}".encode(), group="order") for n in range(30)]
    assert chain.pipeline.promote(jobs[-1])
    assert chain.client.llen(keys.queue("scribe")) == 30, "the old message stays until its turn"
    chain.start_worker()
    ends = [one.job for one in chain.pipeline.group("order").wait(timeout_s=60)]
    assert sorted(ends) == sorted(jobs)
    assert ends[0] == jobs[-1]
    assert not chain.pipeline.promote(jobs[0]), "it has ended"
    with pytest.raises(BadRequest):
        chain.pipeline.promote("unknown")


def test_a_job_whose_deadline_passes_in_the_queue_runs_no_model(chain, eventually):
    chain.stop_worker()
    late = chain.pipeline.submit(b"too late", expires_s=0.05, group="late")
    kept = chain.pipeline.submit(b"in time", expires_s=600)
    time.sleep(0.1)
    chain.start_worker()
    found = chain.outcomes([late, kept])
    assert (found[late].state, found[late].stages) == ("expired", {})
    assert found[late].error.message == "The job had not ended after 0.05 s."
    assert found[kept].state == "done"
    assert chain.pipeline.group("late").status().expired == 1
    assert eventually(lambda: not chain.client.exists(keys.expiring))


def test_the_deadline_is_kept_while_the_job_waits_behind_others(make_chain, monkeypatch):
    monkeypatch.setenv("RUN_S", "3")
    chain = make_chain()
    before = chain.pipeline.submit(b"slow")
    job = chain.pipeline.submit(b"waits", expires_s=0.3)
    assert chain.outcomes([job], timeout_s=10)[job].state == "expired"
    assert chain.pipeline.outcome(before) is None, "the box was still busy with it"


def test_a_cancelled_group_ends_and_its_waiting_jobs_run_no_model(chain):
    chain.stop_worker()
    jobs = [chain.pipeline.submit(f"words {n}".encode(), group="gone") for n in range(40)]
    other = chain.pipeline.submit(b"words", group="stays")
    chain.pipeline.group("gone").cancel()
    chain.start_worker()
    ends = list(chain.pipeline.group("gone").wait(timeout_s=60))
    assert sorted(one.job for one in ends) == sorted(jobs)
    assert {(one.state, len(one.outcome.stages), one.outcome.error.message) for one in ends} == {
        ("cancelled", 0, "Its group gone was cancelled.")
    }
    assert chain.outcomes([other])[other].state == "done"


def test_a_running_job_of_a_cancelled_group_is_interrupted(make_chain, monkeypatch, eventually):
    monkeypatch.setenv("RUN_S", "20")
    chain = make_chain()
    job = chain.pipeline.submit(b"slow", group="gone")
    eventually(lambda: chain.client.exists(keys.unacked))
    chain.pipeline.group("gone").cancel()
    assert chain.outcomes([job], timeout_s=15)[job].state == "cancelled"


def test_progress_of_a_group_that_runs_reaches_its_end(chain):
    chain.pipeline.submit_many([f"words {n}".encode() for n in range(20)], JobOptions(group="all"))
    seen = [chain.pipeline.group("all").status()]
    seen += [chain.pipeline.group("all").status() for _ in chain.pipeline.group("all").wait(FIRST, timeout_s=60)]
    assert (seen[-1].done, seen[-1].at) == (20, {"scribe": 0, "interpreter": 0, "oracle": 0})
    for stage in seen[0].at:
        counts = [one.passed(stage) for one in seen]
        assert counts == sorted(counts)
        assert counts[-1] == 20
