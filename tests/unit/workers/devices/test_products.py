"""Float32 products on CPUs: the same numbers by either library, and who uses which."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.devices import products
from golem_chain.workers.devices.cpu import vendor_of


@pytest.fixture(params=[False, True], ids=["MKL", "oneDNN"])
def by_either(request, monkeypatch):
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(products, "is_quick", lambda: request.param)


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(1, 48), (15, 48), (16, 48), (2, 40, 48), (0, 48)])
def test_a_product_is_that_of_exact_arithmetic_to_the_rounding_of_float32(by_either, shape):
    torch.manual_seed(2)
    rows, weight, bias = torch.randn(shape), torch.randn(96, 48), torch.randn(96)
    for offset in (bias, None):
        exact = F.linear(rows.double(), weight.double(), None if offset is None else offset.double())
        found = products.linear(rows, weight, offset)
        assert found.dtype == torch.float32
        assert torch.allclose(found.double(), exact, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_large_matrix_goes_to_the_faster_library_with_few_rows_too(by_either, count):
    torch.manual_seed(2)
    rows, weight = torch.randn(count, 512), torch.randn(1400, 512)
    exact = F.linear(rows.double(), weight.double())
    assert torch.allclose(products.linear(rows, weight).double(), exact, rtol=1e-5, atol=1e-4)


@torch.inference_mode()
def test_rows_and_weights_may_be_views(by_either):
    torch.manual_seed(2)
    rows, weight = torch.randn(48, 64).t(), torch.randn(64, 96)[:, :48]
    assert torch.allclose(products.linear(rows, weight), rows.contiguous() @ weight.t(), atol=1e-4)


@torch.inference_mode()
def test_a_row_has_the_same_product_whatever_rows_are_beside_it(by_either):
    torch.manual_seed(2)
    rows, weight = torch.randn(200, 384), torch.randn(64, 384)
    together = products.linear(rows, weight)
    assert torch.allclose(together[:20], products.linear(rows[:20], weight), atol=1e-4)


@torch.inference_mode()
def test_other_dtypes_are_multiplied_as_ever(by_either):
    rows, weight = torch.randn(32, 48).bfloat16(), torch.randn(96, 48).bfloat16()
    assert torch.equal(products.linear(rows, weight), F.linear(rows, weight))


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", {"avx2", "avx512f"}, True),
        ("AuthenticAMD", {"avx2"}, False),
        ("GenuineIntel", {"avx2", "avx512f"}, False),
        ("", set(), False),
    ],
)
def test_onednn_multiplies_where_mkl_leaves_avx512_unused(vendor, flags, expected):
    assert products.gains(vendor, frozenset(flags)) is expected


def test_the_vendor_is_read_from_cpuinfo():
    assert vendor_of("processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t: avx2\n") == "AuthenticAMD"
    assert vendor_of("Features\t: asimd\n") == ""


@torch.inference_mode()
def test_a_models_linear_layers_are_quickened_where_that_gains_and_answer_alike(by_either):
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Sequential(nn.Linear(64, 8, bias=False), nn.LayerNorm(8)))
    rows = torch.randn(32, 48)
    before, names = model(rows), list(model.state_dict())
    products.quicken(model)
    assert torch.allclose(model(rows), before, atol=1e-5)
    assert list(model.state_dict()) == names
    quick = [type(module) is products.QuickLinear for module in model.modules() if isinstance(module, nn.Linear)]
    assert quick == [products.is_quick()] * 2
