"""Streams of events of jobs and groups over HTTP: what they tell, that they resume, and that they end with their jobs,
their clients or the server."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from golem_chain.broker.doors.door import Door
from golem_chain.broker.doors.jobs import following
from golem_chain.shared.settings import Settings
from tests.support.door import serving


@pytest.fixture(scope="module")
def http(door):
    with httpx.Client(base_url=door, timeout=30) as client:
        yield client


def submit(http, *texts, audio=None, **fields):
    if audio is not None:
        return http.post("/v1/jobs", files={"file": ("clip.wav", audio)}, data=fields).json()["jobs"][0]["id"]
    jobs = http.post("/v1/jobs", json={"texts": texts, "stop": "interpreter", **fields}).json()["jobs"]
    return [job["id"] for job in jobs]


def events_of(lines):
    """Yield (event, id, data) of a stream."""
    told = {}
    for line in lines:
        if line and not line.startswith(":"):
            field, _, value = line.partition(": ")
            told[field] = value
        elif told:
            yield told["event"], told.get("id"), json.loads(told["data"])
            told = {}


@contextmanager
def listening(http, path, last=None):
    """The events of a stream while it is open."""
    headers = {"last-event-id": last} if last else {}
    with http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events_of(answer.iter_lines())


def test_a_jobs_stream_tells_its_states_and_ends_with_it(http, tmp_path):
    gate = tmp_path / "gate"
    job = submit(http, audio=f"until {gate}".encode(), labels="a,b")
    with listening(http, f"/v1/jobs/{job}/events") as events:
        seen = []
        for kind, _, data in events:
            assert (kind, data["id"]) == ("job", job)
            seen.append((data["state"], data["stage"]))
            if seen[-1] == ("running", "scribe"):
                gate.touch()
    assert seen[-1] == ("done", None)
    assert ("running", "scribe") in seen
    assert len(seen) == len(set(seen))


def test_a_jobs_stream_goes_on_after_what_its_client_has_seen(http, tmp_path):
    gate = tmp_path / "gate"
    job = submit(http, audio=f"until {gate}".encode(), labels="a,b")
    with listening(http, f"/v1/jobs/{job}/events") as events:
        last = next(id for _, id, data in events if data["state"] == "running")
    gate.touch()
    with listening(http, f"/v1/jobs/{job}/events", last) as events:
        again = [id for _, id, _ in events]
    assert last not in again
    assert again[-1] == "done"
    with listening(http, f"/v1/jobs/{job}/events", "done") as events:
        assert list(events) == []
    with listening(http, f"/v1/jobs/{job}/events") as events:
        assert [id for _, id, _ in events] == ["done"]


def test_the_stream_of_all_jobs_tells_of_new_ones_and_of_their_ends(http):
    with listening(http, "/v1/jobs/events") as events:
        jobs = set(submit(http, *(f"all {n}" for n in range(20))))
        done = set()
        for _, _, data in events:
            if data["id"] in jobs and data["state"] == "done":
                assert data["text"].startswith("all ")
                done.add(data["id"])
            if done == jobs:
                break


def test_the_stream_of_all_jobs_resumes_with_the_ends_that_were_missed(http, eventually):
    with listening(http, "/v1/jobs/events") as events:
        [first] = submit(http, "first")
        last = next(id for _, id, data in events if data["id"] == first)
    missed = set(submit(http, *(f"missed {n}" for n in range(10)), group="missed"))
    eventually(lambda: http.get("/v1/groups/missed").json()["ended"] == 10)
    with listening(http, "/v1/jobs/events", last) as events:
        while missed:
            _, _, data = next(events)
            if data["state"] == "done":
                missed.discard(data["id"])


def test_what_had_ended_before_is_not_told_to_a_new_client(http, eventually, monkeypatch):
    monkeypatch.setattr(following, "OVERLAP_S", 0.2)
    old = submit(http, *(f"old {n}" for n in range(3)), group="old")
    eventually(lambda: http.get("/v1/groups/old").json()["ended"] == 3)
    time.sleep(0.3)  # what ended shortly before a client came is told, so that nothing is lost between list and stream
    with listening(http, "/v1/jobs/events") as events:
        [new] = submit(http, "new")
        for _, _, data in events:
            assert data["id"] not in old
            if data["id"] == new and data["state"] == "done":
                break


def test_a_groups_stream_tells_each_end_resumes_and_ends_with_the_counters(http, eventually):
    submit(http, *(f"member {n}" for n in range(10)), group="streamed")
    with listening(http, "/v1/groups/streamed/events") as events:
        *ends, (kind, _, counters) = list(events)
    assert {data["outcome"]["transcript"]["text"] for _, _, data in ends} == {f"member {n}" for n in range(10)}
    assert (kind, counters["done"], counters["ended"]) == ("group", 10, 10)
    with listening(http, "/v1/groups/streamed/events", ends[6][1]) as events:
        again = list(events)
    assert [data["id"] for kind, _, data in again if kind == "end"] == [data["id"] for _, _, data in ends[7:]]


@pytest.mark.parametrize("path", ["/v1/jobs/events", "/v1/groups/streamed/events"])
@pytest.mark.parametrize("last", ["odd", "-1", "1e9", "9" * 400])
def test_a_cursor_that_no_event_had_is_refused(http, path, last):
    submit(http, "member", group="streamed")
    answer = http.get(path, headers={"last-event-id": last})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "after"
    assert http.get(path, params={"after": last}).status_code == 400


# -- their ends


@pytest.fixture
def own(chain):
    """A door of the test's own, and a client of it."""
    door = Door(chain.settings)
    with serving(chain.settings, door) as url, httpx.Client(base_url=url, timeout=30) as http:
        yield http, door


def tasks_of(door):
    """How many tasks the event loop of a door has."""
    loop = door.pipeline.client._loop
    return asyncio.run_coroutine_threadsafe(_count(), loop).result(10)


async def _count():
    return len(asyncio.all_tasks())


def test_clients_that_leave_leave_no_task_behind(own, eventually):
    http, door = own
    submit(http, "warm up")
    before = tasks_of(door)
    gone = [threading.Thread(target=leaving, args=(str(http.base_url), path)) for path in ("jobs", "jobs/{}") * 10]
    for thread in gone:
        thread.start()
    eventually(lambda: tasks_of(door) > before + 20)
    for thread in gone:
        thread.join()
    eventually(lambda: tasks_of(door) <= before)


def leaving(url, path):
    """Listen until the first event, then leave without a word."""
    with httpx.Client(base_url=url, timeout=30) as http:
        job = submit(http, audio=b"sleep 3")
        with listening(http, f"/v1/{path.format(job)}/events") as events:
            next(events)
            time.sleep(0.3)
        http.delete(f"/v1/jobs/{job}")


def test_a_hundred_listeners_cost_one_reading(own, chain):
    http, _ = own
    job = submit(http, audio=b"sleep 4")
    urls = [f"/v1/jobs/{job}/events", "/v1/jobs/events"] * 50

    def commands():
        return chain.client.info("stats")["total_commands_processed"]

    async def listen():
        async with httpx.AsyncClient(
            base_url=http.base_url, timeout=30, limits=httpx.Limits(max_connections=None)
        ) as many:
            opened = [await many.send(many.build_request("GET", url), stream=True) for url in urls]
            await asyncio.sleep(0.5)
            before = await asyncio.to_thread(commands)
            await asyncio.sleep(2)
            spent = await asyncio.to_thread(commands) - before
            for answer in opened:
                await answer.aclose()
            return spent

    assert asyncio.run(listen()) < 500, "about 4 readings of a few jobs, and what the worker does"


def test_a_server_that_stops_ends_its_streams_at_once(chain):
    with serving(chain.settings) as url, httpx.Client(base_url=url, timeout=30) as http:
        job = submit(http, audio=b"sleep 5")
        ended = []

        def listen(path):
            with httpx.Client(base_url=url, timeout=30) as own, listening(own, path) as events:
                list(events)
            ended.append(path)

        threads = [threading.Thread(target=listen, args=(p,)) for p in ("/v1/jobs/events", f"/v1/jobs/{job}/events")]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    for thread in threads:
        thread.join()
    assert len(ended) == 2


def test_streams_ride_out_a_restart_of_redis(start_server, tmp_path):
    server = start_server(tmp_path, appendonly=True, fsync="always")
    settings = Settings.read(_env_file=None, redis_url=server.url)
    told: dict[str, list[Any]] = {"all": [], "one": [], "group": []}

    def listen(url, name, path):
        with httpx.Client(base_url=url, timeout=60) as own, listening(own, path) as events:
            for kind, _, data in events:
                told[name].append((kind, data))
                if data.get("state") == "cancelled" and name != "group":
                    return

    try:
        with serving(settings) as url, httpx.Client(base_url=url, timeout=30) as http:
            [job] = submit(http, "words", group="kept")
            paths = {"all": "/v1/jobs/events", "one": f"/v1/jobs/{job}/events", "group": "/v1/groups/kept/events"}
            threads = [threading.Thread(target=listen, args=(url, *one)) for one in paths.items()]
            for thread in threads:
                thread.start()
            while not (told["all"] and told["one"]):
                time.sleep(0.01)
            server.restart()
            assert http.delete(f"/v1/jobs/{job}").json()["state"] == "cancelled"
            for thread in threads:
                thread.join(60)
            assert not any(thread.is_alive() for thread in threads)
    finally:
        server.stop()
    assert [told[name][-1][1]["state"] for name in ("all", "one")] == ["cancelled", "cancelled"]
    assert [kind for kind, _ in told["group"]] == ["end", "group"]
