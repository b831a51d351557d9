"""The host cache: one block per model, identical values, bounded, least recently used first out. Needs no card."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.workers.store.hostcache import HostCache, HostCopy, Layout, pinned_bytes
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


MB = 1 << 20
EXACT = "expandable_segments:True,pinned_max_round_threshold_mb:1,pinned_max_cached_size_mb:1"


@pytest.mark.parametrize(
    ("nbytes", "options", "pinned"),
    [
        (300 * MB, "", 512 * MB),
        (300 * MB, "expandable_segments:True", 512 * MB),
        (256 * MB, "", 256 * MB),
        (300 * MB, EXACT, 300 * MB),
        (300 * MB, "pinned_max_cached_size_mb : 64", 300 * MB),
        (300 * MB, "pinned_max_round_threshold_mb:400", 512 * MB),
        (600_000, EXACT, MB),  # below the threshold
        (0, "", 0),
    ],
)
def test_pinned_memory_counts_as_torch_rounds_it(nbytes, options, pinned):
    assert pinned_bytes(nbytes, options) == pinned


def test_the_bound_holds_for_what_is_pinned_not_for_what_was_asked():
    cache = HostCache(1000, lambda nbytes: pinned_bytes(nbytes, ""))
    assert cache.put("a", copy_of(256))
    assert cache.put("b", copy_of(300))  # pins 512 of the 744 that are left, both together 768
    assert cache.held_bytes == 768
    assert not cache.put("c", copy_of(513)), "it would pin 1,024"
    assert cache.get("a")
    assert cache.get("b")


def test_what_is_dropped_is_unpinned():
    told: list[int] = []
    cache = HostCache(512, unpin=lambda: told.append(cache.held_bytes))
    cache.put("a", copy_of(256))
    cache.put("b", copy_of(256))
    assert told == []
    cache.put("c", copy_of(512))
    assert told == [0], "after the last reference to it was dropped, before the next is pinned"
    cache.clear()
    assert told == [0, 0]


def test_torch_knows_the_options_for_exact_pinning():
    libraries = Path(torch.__file__).parent / "lib"
    if tuple(map(int, torch.__version__.split("+")[0].split(".")[:2])) < (2, 13):
        pytest.skip("this torch is older than 2.13")
    content = b"".join(path.read_bytes() for path in libraries.glob("libc10*.so*"))
    for option in EXACT.split(",")[1:]:
        assert option.split(":")[0].encode() in content, "an unknown option would be an error on a card"


def test_an_integrated_card_keeps_no_second_copy_of_the_weights(tmp_path):
    weights = Weights(stored(tmp_path, "gpt2"), type(ALL["gpt2"]()), "cuda", host=None)
    assert weights._host is None
    weights.prefetch()  # reads ahead instead
