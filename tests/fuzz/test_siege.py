"""Hostile queue messages harm neither a worker nor other producers' jobs. A small run; `make fuzz` is the full one."""

import pytest

from tests.fuzz.hostile import KINDS
from tests.fuzz.siege import Siege

BURST = 40


@pytest.fixture(scope="module")
def siege(start_server, tmp_path_factory):
    del start_server  # skips where there is no embedded server
    with Siege(tmp_path_factory.mktemp("siege"), patience_s=15) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_no_hostile_message_ends_a_worker_harms_a_job_or_runs_something_else(siege, kind, monkeypatch):
    monkeypatch.setattr(siege, "judge_own", True)  # the forger's own jobs end too
    del siege.findings[:]
    siege.round(0, kind, BURST if kind != "huge" else BURST // 4)
    assert not siege.findings


def test_a_siege_notices_a_job_of_others_that_ends_otherwise(siege, monkeypatch):
    """Tests the siege itself: its jobs are cancelled under its hands."""
    del siege.findings[:]
    submit = siege._submit

    def sabotaged(jobs):
        submit(jobs)
        siege.chain.pipeline.cancel(jobs[-1])
        return jobs

    monkeypatch.setattr(siege, "_submit", sabotaged)
    siege.round(1, "missing", 1)
    monkeypatch.undo()
    assert any("ended otherwise" in what for _, what in siege.findings)
