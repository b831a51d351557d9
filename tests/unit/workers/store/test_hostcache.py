"""The host cache: one block per model, identical values, bounded, least recently used first out. Needs no card."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.workers.store.hostcache import HostCache, HostCopy, Layout
from golem_chain.workers.store.load import Weights
from tests.support.store_models import ALL, stored

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.tensor([1.5, -2.25], dtype=torch.float16),
    "ids": torch.arange(5),
    "none": torch.empty(0, 4),
    "one": torch.tensor(3.0),
}


def test_a_model_comes_back_from_its_block_with_floats_in_the_type_that_runs():
    back = HostCopy.make(TENSORS, torch.bfloat16, pin=False).to(torch.device("cpu"))
    assert list(back) == list(TENSORS)
    for name, tensor in TENSORS.items():
        expected = tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        assert back[name].dtype == expected.dtype
        assert torch.equal(back[name], expected)


def test_the_copy_on_the_device_does_not_share_memory_with_the_host():
    copy = HostCopy.make(TENSORS, torch.float32, pin=False)
    back = copy.to(torch.device("cpu"))
    back["a"].zero_()
    assert torch.equal(copy.to(torch.device("cpu"))["a"], TENSORS["a"])


@given(st.lists(st.integers(0, 40), max_size=12))
def test_no_two_tensors_overlap_and_each_is_aligned(counts):
    layout = Layout.of({str(n): torch.zeros(c) for n, c in enumerate(counts)}, torch.float16)
    ends = 0
    for place in layout.places:
        assert place.start >= ends
        assert place.start % 256 == 0
        ends = place.stop
    assert ends <= layout.nbytes


def copy_of(count):
    return HostCopy.make({"w": torch.zeros(count, dtype=torch.uint8)}, torch.float32, pin=False)


def test_the_least_recently_used_copy_goes_first():
    cache = HostCache(3 * 256)
    for key in ("a", "b", "c"):
        assert cache.put(key, copy_of(256))
    assert cache.get("a")
    assert cache.put("d", copy_of(256))
    assert cache.get("b") is None
    assert cache.get("a")
    assert cache.held_bytes == 3 * 256


def test_a_copy_above_the_limit_is_not_kept_and_pushes_nobody_out():
    cache = HostCache(512)
    cache.put("a", copy_of(256))
    assert not cache.put("big", copy_of(1024))
    assert cache.get("a")
    cache.clear()
    assert cache.held_bytes == 0


def test_a_model_loaded_from_its_host_copy_is_the_same_and_prefetch_makes_the_copy(tmp_path):
    model = ALL["gpt2"]()
    weights = Weights(stored(tmp_path, "gpt2", model), type(model))
    plain = {name: tensor.clone() for name, tensor in weights.load().state_dict().items()}
    weights.unload()
    weights._host, weights._pin = HostCache(1 << 30), False  # as on a card, but without page locking
    weights.prefetch()
    assert weights._host.held_bytes >= weights.nbytes
    again = weights.load().state_dict()
    assert again.keys() == plain.keys()
    assert all(torch.equal(again[name], plain[name]) for name in plain)


def test_without_room_for_a_host_copy_the_mapped_file_is_loaded(tmp_path):
    weights = Weights(stored(tmp_path, "gpt2"), type(ALL["gpt2"]()))
    weights._host, weights._pin = HostCache(10), False
    weights.prefetch()
    assert weights.load() is not None
    assert weights._host.held_bytes == 0


def test_prefetch_on_a_cpu_reads_ahead_and_keeps_nothing(tmp_path):
    weights = Weights(stored(tmp_path, "gpt2"), type(ALL["gpt2"]()))
    weights.prefetch()
    weights.prefetch()
    assert weights._host is None
