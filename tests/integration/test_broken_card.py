"""A card whose context breaks, in a real worker: the child ends, its messages run again in a fresh one."""

import os
import subprocess
import sys

import pytest
import torch

from tests.support.paths import python_path


def test_a_job_whose_context_broke_runs_again_in_a_fresh_child_and_so_do_its_neighbours(chain):
    once = f"break once {chain.root / 'pid'}".encode()
    jobs = [chain.pipeline.submit(text, labels="a,b") for text in (b"a", once, b"b")]
    outcomes = chain.outcomes(jobs)
    assert [outcomes[job].state for job in jobs] == ["done"] * 3
    assert outcomes[jobs[1]].transcript.text == "another child: True"


def test_a_job_that_breaks_it_each_time_ends_in_one_sentence_and_harms_no_other(chain):
    jobs = [chain.pipeline.submit(text, labels="a,b") for text in (b"a", b"break", b"b")]
    outcomes = chain.outcomes(jobs)
    assert [outcomes[job].state for job in jobs] == ["done", "failed", "done"]
    error = outcomes[jobs[1]].error
    assert error.code == "too-many-deliveries"
    assert "delivered 3 times" in error.message
    assert "the device failed (CUDA error: an illegal memory access was encountered)" in error.message
    assert "secretly" not in error.message


def test_a_card_that_is_full_for_a_moment_costs_no_job(chain):
    """Another program has the memory that even an empty batch needs."""
    job = chain.pipeline.submit(f"full once {chain.root / 'full'}".encode(), labels="a,b")
    assert chain.outcomes([job])[job].state == "done"


def test_a_worker_whose_card_stays_broken_stops_and_leaves_the_other_jobs_to_boxes_that_work(make_chain):
    chain = make_chain(keep_s=120)
    mended = chain.root / "mended"
    jobs = [chain.pipeline.submit(f"break until {mended}".encode(), labels="a,b") for _ in range(6)]
    assert chain.worker.wait(60) == 1, chain.log.read_text()
    assert "DeviceRefused: The worker has stopped, because fresh processes do not help" in chain.log.read_text()
    mended.touch()
    chain.start_worker()
    states = [outcome.state for outcome in chain.outcomes(jobs).values()]
    assert states.count("failed") <= 2
    assert states.count("done") == 6 - states.count("failed")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_worker_without_the_device_that_was_named_does_not_start(redis_server, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "golem_chain.workers", "worker"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"GOLEM_REDIS_URL": redis_server.url, "GOLEM_DEVICE": "cuda", "PYTHONPATH": python_path()},
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("golem: GOLEM_DEVICE=cuda: this torch build finds no CUDA device")
    assert len(done.stderr.splitlines()) == 1
