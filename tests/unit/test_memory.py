"""Reading the device: this machine's CPU for real, CUDA by its decisions."""

import numpy as np
import pytest
import torch

from shared.errors import DeviceRefused
from shared.settings import Settings
from workers.residency.memory import CpuMemory, budget_bytes, is_out_of_memory, open_memory, pick_device, pick_dtype

MB = 1_000_000
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


def test_the_peak_shows_what_was_there_for_a_moment_and_the_rest_comes_back():
    memory = CpuMemory()
    memory.give_back()
    before = memory.read().allocated
    memory.reset_peak()
    block = np.ones(60 * MB, np.uint8)
    del block
    memory.give_back()
    after = memory.read()
    assert after.peak - before > 50 * MB
    assert after.allocated - before < 10 * MB
    memory.reset_peak()
    assert memory.read().peak - before < 10 * MB


def test_a_reading_is_consistent():
    reading = open_memory(torch.device("cpu")).read()
    assert 0 < reading.allocated <= reading.peak <= reading.total
    assert 0 < reading.free <= reading.total


def test_a_budget_is_what_was_set_or_a_share():
    assert budget_bytes(5, 100) == 5
    assert budget_bytes(0.5, 100) == 50
    assert budget_bytes(None, 100) == 80


@no_cuda
@pytest.mark.parametrize("asked", ["cuda", "cuda:3", "tpu", "cuda:x", "mps"])
def test_a_device_that_is_not_there_is_refused_in_one_sentence(asked):
    with pytest.raises(DeviceRefused, match="GOLEM_DEVICE") as caught:
        pick_device(Settings(device=asked))
    assert "\n" not in caught.value.message


@no_cuda
def test_without_a_card_the_models_run_on_the_cpu_in_float32():
    device = pick_device(Settings(device="auto"))
    assert device.type == "cpu"
    assert pick_dtype(Settings(), device, "oracle") == torch.float32
    assert pick_dtype(Settings(dtype="bfloat16"), device, "oracle") == torch.bfloat16


def test_a_card_runs_in_half_precision(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    cuda = torch.device("cuda")
    assert pick_dtype(Settings(), cuda, "scribe") == torch.float16
    assert pick_dtype(Settings(), cuda, "oracle") == torch.bfloat16


def test_a_failed_allocation_is_told_from_other_faults():
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 50)
    assert is_out_of_memory(real.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))
