"""Memory readings: this machine's CPU, and CUDA through a fake card."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from golem_chain.shared.errors import DeviceRefused
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices import memory as memory_module
from golem_chain.workers.devices.memory import (
    CONTEXT_AT_MOST,
    CpuMemory,
    CudaMemory,
    allocator_environment,
    budget_bytes,
    context_bytes,
    on_tegra,
    open_memory,
    warm_up,
)
from golem_chain.workers.devices.selection import pick_device, pick_dtype
from golem_chain.workers.store.hostcache import pinned_bytes

MB = 1_000_000
GB = 1000 * MB
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
        pick_device(Settings.read(_env_file=None, device=asked))
    assert "\n" not in caught.value.message


@no_cuda
def test_without_a_card_the_models_run_on_the_cpu_in_float32():
    device = pick_device(Settings.read(_env_file=None, device="auto"))
    assert device.type == "cpu"
    assert pick_dtype(Settings.read(_env_file=None), None, "oracle") == torch.float32
    assert pick_dtype(Settings.read(_env_file=None, dtype="bfloat16"), None, "oracle") == torch.bfloat16


class Card:
    """A fake torch.cuda with one 8 GB card: 300 MB of context, plus memory of other programs and ours."""

    def __init__(self, monkeypatch):
        self.context, self.others, self.allocated, self.reserved, self.peak = 300 * MB, 0, 0, 0, 0
        self.share = None
        for name, answer in {
            "mem_get_info": lambda d: (8 * GB - self.context - self.others - self.reserved, 8 * GB),
            "memory_allocated": lambda d: self.allocated,
            "memory_reserved": lambda d: self.reserved,
            "max_memory_allocated": lambda d: self.peak,
            "set_per_process_memory_fraction": self.limit,
        }.items():
            monkeypatch.setattr(torch.cuda, name, answer)

    def limit(self, share, device):
        assert 0 <= share <= 1, "torch refuses others"
        self.share = share


def test_on_a_card_the_context_counts(monkeypatch):
    card = Card(monkeypatch)
    memory = CudaMemory(torch.device("cuda", 0))
    assert memory.read().allocated == memory.read().context == 300 * MB
    card.allocated, card.reserved, card.peak = 900 * MB, 1 * GB, 950 * MB
    reading = memory.read()
    assert (reading.allocated, reading.reserved, reading.peak) == (1200 * MB, 1300 * MB, 1250 * MB)
    assert (reading.free, reading.total) == (6700 * MB, 8 * GB)
    assert reading.models == 900 * MB


def test_another_program_on_the_card_is_not_taken_for_our_context(monkeypatch):
    card = Card(monkeypatch)
    memory = CudaMemory(torch.device("cuda", 0))
    memory.read()
    card.others = 3 * GB
    assert memory.read().context == 300 * MB
    assert memory.read().free == 4700 * MB


def test_one_that_was_there_first_is_counted_up_to_a_bound_until_it_goes(monkeypatch):
    card = Card(monkeypatch)
    card.others = 3 * GB
    memory = CudaMemory(torch.device("cuda", 0))
    assert memory.read().context == CONTEXT_AT_MOST
    card.others = 0
    assert memory.read().context == 300 * MB


def test_the_hard_limit_of_the_allocator_leaves_room_for_the_context(monkeypatch):
    card = Card(monkeypatch)
    memory = CudaMemory(torch.device("cuda", 0))
    memory.limit(4300 * MB)
    assert card.share == 0.5
    memory.limit(20 * GB)
    assert card.share == 1
    memory.limit(200 * MB)
    assert card.share == 0


def test_the_limit_follows_the_context_when_another_program_ends(monkeypatch):
    card = Card(monkeypatch)
    card.others = 600 * MB
    memory = CudaMemory(torch.device("cuda", 0))
    assert memory.read().context == 900 * MB
    assert card.share is None, "none was asked for"
    memory.limit(4900 * MB)
    assert card.share == 0.5
    card.others = 0
    room = 4900 * MB - memory.read().context
    assert room == 4600 * MB
    assert (card.share or 0) * 8 * GB == room, "the allocator allows what decisions use"
    card.others = 2 * GB
    memory.read()
    assert (card.share or 0) * 8 * GB == room, "a newcomer is not taken for our context"


def test_a_first_product_and_convolution_run_before_the_context_is_measured(monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(memory_module, "warm_up", lambda device: done.append("warm"))
    monkeypatch.setattr(memory_module.CudaMemory, "read", lambda self: done.append("read"))
    open_memory(torch.device("cuda", 0)).read()
    open_memory(torch.device("cpu"))
    assert done == ["warm", "read"]
    ran: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            ran.append(f"{function}")
            return function(*args, **(kwargs or {}))

    monkeypatch.undo()
    with Watch():
        warm_up(torch.device("cpu"))
    assert sum("mm" in name or "matmul" in name for name in ran) >= 2
    assert any("conv" in name for name in ran)


def test_on_a_card_attention_runs_in_kernels_that_need_no_plan_for_each_shape(monkeypatch):
    used = torch.backends.cuda.cudnn_sdp_enabled()
    monkeypatch.setattr(memory_module, "warm_up", lambda device: None)
    try:
        torch.backends.cuda.enable_cudnn_sdp(True)
        open_memory(torch.device("cpu"))
        assert torch.backends.cuda.cudnn_sdp_enabled()
        open_memory(torch.device("cuda", 0))
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(used)


def test_the_arithmetic_of_a_context_never_gives_less_than_nothing():
    assert context_bytes(free=7, total=10, reserved=1) == 2
    assert context_bytes(free=9, total=10, reserved=4) == 0  # the driver may report a segment late
    assert context_bytes(free=0, total=10, reserved=0, least=3) == 3


def test_segments_grow_on_a_card_unless_the_user_said_otherwise():
    assert allocator_environment({}, "2.12.1+cu130") == {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    assert allocator_environment({}, "2.6.0") == {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        assert allocator_environment({name: ""}, "2.13.0") == {}
    assert allocator_environment({}, "2.13.0", tegra=on_tegra("5.15.148-tegra")) == {}, "every allocation would fail"
    assert not on_tegra("6.8.0-45-generic")
    assert not on_tegra("6.14.0-1015-nvidia"), "DGX Spark"


@pytest.mark.parametrize("version", ["2.13.0+cu130", "3.0.0a0+git"])
def test_pinned_memory_has_its_exact_size_where_torch_knows_how_to(version):
    (options,) = allocator_environment({}, version).values()
    assert options.split(",") == [
        "expandable_segments:True",
        "pinned_max_round_threshold_mb:1",
        "pinned_max_cached_size_mb:1",
    ]
    assert pinned_bytes(151_000_000, options) == 151_000_000
