"""Which forms are tried on which device."""

from types import SimpleNamespace

import pytest
import torch

from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.proof.candidates import Shape, candidates, fast_dtypes, shape_of, time_products, worth_it


def test_a_dtype_is_tried_where_its_products_are_clearly_faster() -> None:
    assert fast_dtypes({"float32": 1.0, "bfloat16": 0.4, "float16": 0.3}) == ["float16", "bfloat16"]
    assert fast_dtypes({"float32": 1.0, "bfloat16": 0.9, "float16": 2.0}) == []
    assert fast_dtypes({"float32": 1.0}) == [], "a dtype that the device cannot multiply"
    assert fast_dtypes({}) == []


def test_a_scribe_on_a_cpu_is_tried_with_short_products_first() -> None:
    assert [form.name for form in candidates("scribe", "cpu", ["bfloat16"])] == [
        "float32 with bfloat16 products",
        "bfloat16",
    ]
    assert candidates("scribe", "cuda", ["float16"]) == [Precision("float16")]
    assert candidates("oracle", "cpu", ["bfloat16"]) == [Precision("bfloat16")]
    assert candidates("oracle", "cpu", []) == []


def test_packed_weights_are_tried_where_they_are_asked_for_and_need_not_be_faster() -> None:
    assert candidates("oracle", "cpu", ["bfloat16"], 8) == [Precision("bfloat16", 8), Precision("float32", 8)]
    assert worth_it(Precision("float32", 4), 0.5)
    assert not worth_it(Precision("bfloat16"), 1.0)
    assert worth_it(Precision("bfloat16"), 1.5)


def test_products_are_timed_where_they_run() -> None:
    times_s = time_products(Shape(8, 16, 32), torch.device("cpu"))
    assert set(times_s) == {"float32", "bfloat16", "float16"}
    assert all(seconds > 0 for seconds in times_s.values())


@pytest.mark.parametrize(
    ("config", "width", "inner"),
    [
        ({"d_model": 384, "encoder_ffn_dim": 1536}, 384, 1536),
        ({"hidden_size": 576, "intermediate_size": 1536}, 576, 1536),
        ({"hidden_size": 768, "n_inner": None}, 768, 3072),
    ],
)
def test_the_product_has_the_models_own_shape(config: dict[str, int], width: int, inner: int) -> None:
    shape = shape_of("oracle", SimpleNamespace(**config))
    assert (shape.width, shape.inner) == (width, inner)
