"""Fault injection: every job ends exactly once, with the same Outcome as in an undisturbed run.

A small run; `make chaos` does the same at full size.
"""

import shutil
from pathlib import Path

import pytest

from golem_chain.broker.local import embedded
from golem_chain.shared.records import Outcome
from tests.chaos.storm import answer, quiet_answers, storm_over

JOBS, KILLS, SEED = 120, 12, 7


@pytest.fixture(scope="module")
def quiet(start_server, tmp_path_factory):
    """Answers of an undisturbed run, by job number."""
    folder = tmp_path_factory.mktemp("quiet")
    with start_server(folder / "server") as server:
        answers = quiet_answers(server, folder, JOBS)
    assert len(answers) == JOBS
    assert {state for _, state, *_ in answers.values()} == {"done", "failed"}
    return answers


def check(told):
    report, said = told
    print(f"\n{report}")
    assert report.kept, (report, said)


def test_a_storm_loses_nothing_ends_nothing_twice_and_changes_no_answer(start_server, tmp_path, quiet):
    with start_server(tmp_path / "server", appendonly=True, fsync="always") as server:
        check(storm_over(server, tmp_path, quiet, JOBS, KILLS, SEED))


def test_kills_alone_delay_no_run_past_a_deadline_and_groups_count_right(start_server, tmp_path, quiet):
    with start_server(tmp_path / "server", appendonly=True, fsync="always") as server:
        check(storm_over(server, tmp_path, quiet, JOBS, KILLS, SEED, kinds=("child", "parent", "group", "deliverer")))


def test_the_same_holds_on_the_redis_server_of_the_system(tmp_path, quiet):
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with embedded.Server(Path(program), tmp_path / "server", True, None, "always") as server:
        check(storm_over(server, tmp_path, quiet, JOBS // 3, KILLS // 3, SEED))


def test_a_differing_answer_would_be_seen():
    one = Outcome(job="a", name="x", state="done")
    assert answer(one) == answer(one.model_copy(update={"job": "b"}))
    assert answer(one) != answer(one.model_copy(update={"state": "failed"}))
