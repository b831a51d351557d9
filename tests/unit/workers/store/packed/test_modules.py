"""Packed layers give what their unpacked weights give, for one row and for many, in every dtype."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.store.packed.blocks import of_gguf, pack
from golem_chain.workers.store.packed.dense import dense, embed, project
from golem_chain.workers.store.packed.modules import PackedEmbedding, PackedLinear, install, pairs_of
from tests.support.fake_card import CARD, FakeCard
from tests.support.store_models import ALL

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}
CPU = torch.device("cpu")


def matrix(kind, shape=(200, 96)):
    torch.manual_seed(3)
    if kind in ("int8", "int4"):
        return pack(torch.randn(shape), 8 if kind == "int8" else 4)
    import gguf

    raw = gguf.quants.quantize(torch.randn(shape).numpy(), gguf.GGMLQuantizationType[kind.upper()])
    blocks = {"q8_0": 34, "q4_0": 18, "q4_1": 20}
    return of_gguf(kind, torch.from_numpy(raw).view(-1, blocks[kind]), shape)


def linear(packed, dtype, bias=None):
    layer = PackedLinear(packed.shape, None if bias is None else nn.Parameter(bias.to(dtype), requires_grad=False))
    layer.hold(packed, dtype, pairs_of(packed, dtype, CPU))
    return layer


@pytest.mark.parametrize("kind", ["int8", "q8_0", "int4", "q4_1", "q4_0"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rows", [(1,), (7,), (2, 100), (0,)])
def test_a_packed_layer_gives_what_its_unpacked_weights_give(kind, dtype, rows):
    packed = matrix(kind)
    bias = torch.randn(200)
    given = torch.randn(*rows, 96).to(dtype)
    found = project(linear(packed, dtype, bias), given)
    wanted = F.linear(given.double(), packed.dense(torch.float32).double(), bias.to(dtype).double())
    assert found.dtype == dtype
    assert found.shape == wanted.shape
    scale = wanted.abs().max() if wanted.numel() else 1
    assert ((found.double() - wanted).abs() <= TOLERANCE[dtype] * scale).all()


def test_rows_that_are_no_contiguous_block_are_multiplied_too():
    packed = matrix("int4")
    given = torch.randn(96, 3).bfloat16().t()
    assert torch.equal(linear(packed, torch.bfloat16)(given), linear(packed, torch.bfloat16)(given.contiguous()))


@pytest.mark.parametrize("kind", ["int8", "q8_0", "int4", "q4_1", "q4_0"])
def test_dense_and_embed_read_packed_and_plain_modules_alike(kind):
    packed = matrix(kind)
    plain = nn.Embedding(200, 96, _weight=packed.dense(torch.float32))
    table = PackedEmbedding((200, 96))
    table.hold(packed, torch.float32)
    ids = torch.tensor([[0, 199, 64]])
    assert torch.equal(dense(table, torch.float32), dense(plain, torch.float32))
    assert torch.equal(embed(table, ids), embed(plain, ids))
    assert torch.equal(table(ids), plain(ids))
    assert dense(table, torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ALL)
def test_positions_norms_convolutions_and_small_matrices_stay(kind):
    model = ALL[kind]()
    before = dict(model.named_parameters())
    packed = {name for place in install(model) for name in place.names}
    for name in packed:
        assert before[name].numel() >= 4096 if name in before else True
        assert "position" not in name
        assert "wpe" not in name
        assert "conv" not in name
    assert all(name in dict(model.named_parameters()) for name in before if "norm" in name or "ln_" in name)


def test_a_hook_of_a_replaced_layer_still_runs():
    model = nn.Sequential(nn.Linear(96, 64))
    seen = []
    model[0].register_forward_pre_hook(lambda module, given: seen.append(given[0].shape))
    (place,) = install(model)
    place.modules[0].hold(matrix("int8", (64, 96)), torch.float32)
    with torch.no_grad():
        model(torch.randn(2, 96))
    assert seen == [(2, 96)]


def test_a_matrix_that_an_unknown_layer_shares_is_not_packed():
    class Own(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = weight

    model = nn.Module()
    model.linear = nn.Linear(96, 64)
    model.own = Own(model.linear.weight)
    assert install(model) == []
    assert type(model.linear) is nn.Linear


@pytest.mark.parametrize("width", [96, 100, 104, 112])
@pytest.mark.parametrize("off", [0, 2, 8, 16])
@pytest.mark.parametrize("count", [1, 4, 16])
def test_operands_at_any_place_in_memory_and_of_any_width_are_multiplied(width, off, count):
    packed = matrix("int8", (200, width))
    values = torch.empty(200 * width + 64, dtype=torch.int8)[off : off + 200 * width].view(200, width)
    values.copy_(packed.values)
    placed = replace(packed, values=values)
    rows = torch.randn(count * width + 64).bfloat16()[off : off + count * width].view(count, width)
    found = project(linear(placed, torch.bfloat16), rows).float()
    wanted = rows.float() @ packed.dense(torch.float32).t()
    assert torch.allclose(found, wanted, rtol=2e-2, atol=0.3)


def test_a_packed_layer_without_weights_says_so():
    with pytest.raises(AssertionError, match="not loaded"):
        PackedLinear((64, 96), None)(torch.randn(1, 96))


@pytest.mark.parametrize("kind", ["int8", "q8_0", "int4", "q4_1", "q4_0"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_on_a_card_packed_layers_mix_no_devices_and_make_the_host_wait_for_nothing(kind, dtype):
    packed = matrix(kind)
    wanted = packed.dense(dtype)
    with FakeCard() as card:
        assert pairs_of(packed, dtype, CARD) is None
        on_card = packed.to(CARD)
        layer, table = PackedLinear((200, 96), None), PackedEmbedding((200, 96))
        layer.hold(on_card, dtype)
        table.hold(on_card, dtype)
        rows, ids = torch.ones(3, 96, dtype=dtype, device=CARD), torch.tensor([[5, 199]], device=CARD)
        card.reads.clear()
        found = project(layer, rows), embed(table, ids), dense(layer, dtype)
        assert card.reads.total() == 0
        answers = [one.cpu() for one in found]
    assert torch.allclose(answers[0].float(), (torch.ones(3, 96) @ wanted.float().t()), rtol=2e-2, atol=0.2)
    assert torch.equal(answers[1], wanted[torch.tensor([[5, 199]])])
    assert torch.equal(answers[2], wanted)


_SHAPES_AND_OFFSETS = """
import torch
from torch import nn
from golem_chain.workers.store.packed.blocks import Packed, pack
from golem_chain.workers.store.packed.modules import PackedLinear, pairs_of

def moved(tensor, offset):
    block = torch.empty(tensor.nbytes + 128, dtype=torch.uint8)
    start = -block.data_ptr() % 64 + offset
    return block[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)

torch.manual_seed(5)
for bits in (8, 4):
    for out in (1, 2, 3, 21, 64, 65, 70):
        for width in (8, 24, 32, 33, 48, 96, 100):
            whole = pack(torch.randn(out, width), bits)
            for offset in (0, 2, 8, 32, 50):
                packed = Packed(whole.kind, whole.shape, moved(whole.values, offset), moved(whole.scales, offset))
                layer = PackedLinear(packed.shape, None)
                layer.hold(packed, torch.bfloat16, pairs_of(packed, torch.bfloat16, torch.device("cpu")))
                for rows in (1, 5):
                    given = torch.randn(rows, width).bfloat16()
                    dense = whole.dense(torch.float32).t()
                    wrong = (layer(given).float() - given.float() @ dense).abs()
                    worst = (wrong / (given.float().abs() @ dense.abs())).max()
                    assert worst < 0.03, (bits, out, width, offset, rows, float(worst))
"""


def test_no_shape_or_offset_of_packed_weights_crashes_the_process_or_alters_its_results():
    ended = subprocess.run([sys.executable, "-c", _SHAPES_AND_OFFSETS], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{ended.returncode}: {ended.stderr[-1000:]}"
