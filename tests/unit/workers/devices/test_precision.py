"""A precision is known by its name."""

import pytest

from golem_chain.workers.devices.precision import Precision


@pytest.mark.parametrize(
    "name", ["float32", "bfloat16", "bfloat16 8 bit", "float16 4 bit", "float32 with bfloat16 products"]
)
def test_a_name_is_read_as_it_was_written(name: str) -> None:
    assert Precision.parse(name).name == name


@pytest.mark.parametrize("name", ["", "float64", "float32 2 bit", "float32 8 bit ", "fast"])
def test_another_name_is_no_precision(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}$"):
        Precision.parse(name)
