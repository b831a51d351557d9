"""Storms: whatever is killed, every job ends once, and as it would have ended in quiet weather.

Small here; `make chaos` runs the same at full size: CHAOS_JOBS, CHAOS_KILLS and CHAOS_SEED set it.
"""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from storm import Storm, answer

from broker import embedded
from shared.records import Outcome

JOBS = int(os.environ.get("CHAOS_JOBS", "120"))
KILLS = int(os.environ.get("CHAOS_KILLS", "8"))
SEED = int(os.environ.get("CHAOS_SEED", "7"))


@pytest.fixture(scope="module")
def quiet(start_server, tmp_path_factory):
    """The answers of an undisturbed run, by job number."""
    folder = tmp_path_factory.mktemp("quiet")
    with start_server(folder / "server") as server:
        storm = Storm(server, folder, boxes=1, run_s=0)
        try:
            storm.submit(range(JOBS))
            answers = storm.outcomes(range(JOBS), 60 + JOBS / 10)
        finally:
            storm.stop()
    assert len(answers) == JOBS
    assert {state for _, state, *_ in answers.values()} == {"done", "failed"}
    return answers


def storm_over(server, folder, quiet, jobs, kills, server_kills=1):
    storm = Storm(server, folder, boxes=2)
    try:
        start = time.monotonic()
        pause_s = kills * 0.55 / jobs  # the jobs come in over the length of the storm
        producer = threading.Thread(target=storm.submit, args=(range(jobs), pause_s))
        producer.start()
        storm.rage(kills, SEED, server_kills)
        producer.join(60 + jobs / 10)
        assert not producer.is_alive(), "the producer hangs"
        found = storm.outcomes(range(jobs), 60 + jobs / 5)
        wall_s = time.monotonic() - start
        time.sleep(0.5)
        twice = [job for job, count in storm.ended.items() if count > 1]
        differing = [n for n in range(jobs) if found[n] != quiet[n]]
        killed = ", ".join(f"{kind} {count}" for kind, count in sorted(storm.killed.items()))
        print(
            f"\n{jobs} jobs, killed: {killed}; lost 0, ended twice {len(twice)}, differing {len(differing)}, "
            f"{wall_s:.0f} s, longest time without an end {max(storm.gaps):.1f} s"
        )
        assert not twice
        assert not differing, (found[differing[0]], quiet[differing[0]])
        with_books = (b"unacked", b"golem:dying", b"golem:dead")
        end = time.monotonic() + 20
        while left := [key for key in with_books if redis_has(server, key)]:
            assert time.monotonic() < end, left
            time.sleep(0.1)
    finally:
        storm.stop()


def redis_has(server, key):
    import redis

    with redis.Redis.from_url(server.url) as client:
        return client.exists(key)


@pytest.mark.timeout(1200)
def test_a_storm_loses_nothing_ends_nothing_twice_and_changes_no_answer(start_server, tmp_path, quiet):
    with start_server(tmp_path / "server", appendonly=True) as server:
        storm_over(server, tmp_path, quiet, JOBS, KILLS, server_kills=1 + KILLS // 50)


@pytest.mark.timeout(600)
def test_the_same_holds_on_the_redis_server_of_the_system(tmp_path, quiet):
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    jobs, kills = max(40, JOBS // 4), max(3, KILLS // 4)
    with embedded.Server(Path(program), tmp_path / "server", True, None) as server:
        storm_over(server, tmp_path, quiet, min(jobs, JOBS), kills)


def test_a_differing_answer_would_be_seen():
    one = Outcome(job="a", name="x", state="done")
    assert answer(one) == answer(one.model_copy(update={"job": "b"}))
    assert answer(one) != answer(one.model_copy(update={"state": "failed"}))
