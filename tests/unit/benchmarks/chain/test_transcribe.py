"""What `golem bench transcribe` makes of its times, without a worker."""

import pytest

from golem_chain.benchmarks.chain.run import Run
from golem_chain.benchmarks.chain.transcribe import Findings, targets


def found(engine_s, chain_s, loads):
    runs = [Run(10, wall_s=one) for one in chain_s]
    return Findings("a box", "recordings", 10, 100.0, engine_s=engine_s, runs=runs, loads=loads)


@pytest.mark.parametrize(("chain_s", "loads", "met"), [(10.0, 1, [True, True]), (11.0, 2, [False, False])])
def test_the_chain_is_held_to_the_engine_of_the_same_run_and_to_one_load(chain_s, loads, met):
    assert [target.met for target in targets(found([9.9], [chain_s], loads))] == met


def test_speeds_are_compared_within_each_turn():
    assert found([10.0, 40.0, 20.0], [10.0, 40.0, 25.0], 1).share == 1.0
    assert found([10.0, 40.0, 20.0], [20.0, 80.0, 20.0], 1).share == 0.5
