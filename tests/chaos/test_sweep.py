"""A kill between any two Redis commands of a job loses nothing, ends nothing twice and leaves nothing behind.

Every few commands; `make chaos` strikes at each.
"""

import pytest

from tests.chaos import sweep
from tests.chaos.storm import answer
from tests.support.strikes import ROLES, WHENS, split
from tests.support.struck import submit


@pytest.mark.parametrize("role", ROLES)
def test_a_kill_at_any_command_of_a_job_makes_no_difference(role, start_server, tmp_path):
    del start_server  # skips where there is no embedded server
    for when in WHENS:
        found = sweep.run(tmp_path / when, role, when, stride={"producer": 7, "parent": 11, "child": 19}[role])
        print(f"\n{found}")
        assert found.kept, found


def test_a_sweep_notices_a_lost_job_and_what_is_left(start_server, tmp_path):
    """Tests the sweep itself: the message and the record of a job disappear, and a key without an expiry appears."""
    del start_server
    with sweep.Ground(tmp_path / "ground") as ground:
        ground.client.set("golem:left", 1)
        assert ground.unusual(0.1) == ["golem:left"]
        submit(ground.pipeline, "job")
        assert answer(ground.outcome("job")) == ground.quiet


def test_a_pipeline_is_split_into_its_commands():
    get, eval_ = b"*2\r\n$3\r\nGET\r\n$4\r\n\r\n*1\r\n", b"*3\r\n$4\r\nEVAL\r\n$0\r\n\r\n$1\r\n0\r\n"
    assert split(get + eval_ + get) == [get, eval_, get]
    assert split(b"") == []
