"""Packed matrices unpack to the bit as gguf's reference does, and our own kinds stay within half a step."""

import gguf
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golem_chain.workers.store.packed.blocks import Packed, bytes_of, of_gguf, pack, packs_as, tile

BLOCK_BYTES = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}
SHAPES = st.tuples(st.integers(1, 150), st.integers(1, 5).map(lambda groups: groups * 32))


def random_blocks(kind, shape, seed):
    """Blocks of random bytes whose scales are finite: every pattern that a file can hold."""
    torch.manual_seed(seed)
    blocks = torch.randint(0, 256, (shape[0] * shape[1] // 32, BLOCK_BYTES[kind]), dtype=torch.uint8)
    scales = 4 if kind == "Q4_1" else 2
    half = torch.randn(len(blocks), scales // 2).half()
    blocks[:, :scales] = half.view(torch.uint8).view(len(blocks), scales)
    return blocks


def same_bits(ours, theirs):
    return torch.equal(ours.contiguous().view(torch.int32), theirs.contiguous().view(torch.int32))


@pytest.mark.parametrize("kind", BLOCK_BYTES)
@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**32))
def test_blocks_of_gguf_unpack_to_the_bit_as_its_reference_does(kind, shape, seed):
    blocks = random_blocks(kind, shape, seed)
    reference = torch.from_numpy(gguf.quants.dequantize(blocks.numpy(), gguf.GGMLQuantizationType[kind])).view(shape)
    packed = of_gguf(kind.lower(), blocks, shape)
    assert same_bits(packed.dense(torch.float32), reference)
    assert same_bits(packed.unpack(torch.float32, 0, shape[0]), reference)
    ids = torch.randint(0, shape[0], (2, 3))
    assert same_bits(packed.rows(ids, torch.float32), reference[ids])
    assert torch.equal(packed.dense(torch.bfloat16), reference.bfloat16())
    if shape[0] > 64:
        assert same_bits(packed.unpack(torch.float32, 64, shape[0] - 1), reference[64:-1])


@pytest.mark.parametrize("bits", [8, 4])
@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**32), spread=st.sampled_from([1e-6, 1.0, 1e6]))
def test_what_is_packed_here_is_at_most_half_a_step_away(bits, shape, seed, spread):
    torch.manual_seed(seed)
    weight = torch.randn(shape) * spread
    unpacked = pack(weight, bits).dense(torch.float32)
    if bits == 8:
        step = weight.abs().amax(1, keepdim=True) / 127
        assert ((weight - unpacked).abs() <= step * 0.51).all()  # a scale rounded up to bfloat16 is 0.8 % larger
        return
    grouped, values = weight.view(shape[0], -1, 32), unpacked.view(shape[0], -1, 32)
    low, high = grouped.amin(2, keepdim=True), grouped.amax(2, keepdim=True)
    rounding = (low.abs() + high.abs()) / 256  # of the middle, to bfloat16
    assert ((grouped - values).abs() <= (high - low) / 15 * 0.51 + rounding).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_a_transposed_matrix_is_packed_by_its_outputs(bits):
    torch.manual_seed(1)
    weight = torch.randn(70, 96)
    turned = pack(weight.t().contiguous(), bits, turned=True)
    assert turned.shape == (70, 96)
    assert turned.file_shape == (96, 70)
    assert torch.equal(turned.dense(torch.float32), pack(weight, bits).dense(torch.float32).t())


@pytest.mark.parametrize("bits", [8, 4])
def test_packing_what_is_packed_changes_nothing_beyond_the_scales(bits):
    torch.manual_seed(1)
    once = pack(torch.randn(130, 64), bits)
    again = pack(once, bits)
    assert (again.dense(torch.float32) - once.dense(torch.float32)).abs().max() < 0.02


@pytest.mark.parametrize("shape", [(1, 32), (64, 64), (65, 96), (50, 33)])
@pytest.mark.parametrize("bits", [8, 4])
def test_the_size_is_known_before_packing(shape, bits):
    packed = pack(torch.randn(shape), bits)
    assert packed.kind == packs_as(shape, bits)
    assert packed.nbytes == bytes_of(packed.kind, shape)


def test_rows_that_do_not_divide_into_groups_keep_eight_bits():
    assert pack(torch.randn(40, 33), 4).kind == "int8"


@pytest.mark.parametrize("bits", [8, 4])
def test_zeros_stay_zero_and_what_is_not_finite_stays_so(bits):
    weight = torch.zeros(3, 64)
    assert torch.equal(pack(weight, bits).dense(torch.float32), weight)
    weight[1, 5] = torch.nan
    weight[2, 40] = torch.inf
    unpacked = pack(weight, bits).dense(torch.float32)
    assert torch.equal(unpacked[0], weight[0])
    assert not unpacked[1].isfinite().all()
    assert not unpacked[2].isfinite().all()


def test_tiles_lie_as_torch_packs_for_its_product_where_the_processor_has_avx512():
    if "avx512" not in torch.backends.cpu.get_cpu_capability().lower():
        pytest.skip("torch uses another order on this processor")
    values = torch.randint(0, 16, (128, 64), dtype=torch.int32)
    theirs = torch._convert_weight_to_int4pack_for_cpu(values, 1)
    assert torch.equal(theirs.view(-1), tile(values.to(torch.uint8)).view(-1))


@pytest.mark.parametrize("bits", [8, 4])
def test_no_ids_give_no_rows(bits):
    assert pack(torch.randn(70, 64), bits).rows(torch.zeros(0, dtype=torch.long), torch.float32).shape == (0, 64)


def test_a_packed_matrix_moves_as_a_whole():
    packed = pack(torch.randn(70, 64), 4)
    moved = packed.to(torch.device("meta"))
    assert isinstance(moved, Packed)
    assert moved.values.is_meta
    assert moved.scales.is_meta
    assert packed.to(torch.device("cpu")).values is packed.values
