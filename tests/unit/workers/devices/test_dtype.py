"""The form that a stage runs in without a proof, and what packing makes of it."""

import pytest

from golem_chain.workers.devices.dtype import choose, packed
from golem_chain.workers.devices.precision import Precision

FAST, PLAIN = frozenset({"avx2", "avx512_bf16"}), frozenset({"avx2"})


@pytest.mark.parametrize("bits", ["8", "4"])
@pytest.mark.parametrize("stage", ["interpreter", "oracle"])
def test_packed_products_get_the_rows_that_torch_multiplies_them_with(stage, bits):
    assert choose("auto", bits, None, stage, flags=FAST) == Precision("bfloat16", int(bits))
    assert choose("auto", bits, None, stage, flags=PLAIN) == Precision("float32", int(bits))


@pytest.mark.parametrize("asked", ["float32", "float16"])
def test_a_dtype_that_is_named_stays_whatever_is_packed(asked):
    for stage in ("scribe", "interpreter", "oracle"):
        assert choose(asked, "4", None, stage, flags=FAST) == Precision(asked, 4)


def test_a_packed_scribe_keeps_its_rows_and_the_products_of_its_encoder():
    assert choose("auto", "4", None, "scribe", flags=FAST) == Precision("float32", 4, "bfloat16")
    assert choose("auto", "4", None, "scribe", flags=PLAIN) == Precision("float32", 4)


@pytest.mark.parametrize("bits", ["auto", "off"])
def test_unpacked_weights_run_in_float32_on_any_processor(bits):
    for stage in ("interpreter", "oracle"):
        assert choose("auto", bits, None, stage, flags=FAST) == Precision("float32")


def test_a_proof_of_packed_weights_counts_more_than_the_rule():
    proved = Precision("float32", 4)
    assert choose("auto", "4", None, "oracle", proved=proved, flags=FAST) == proved
    assert choose("auto", "8", None, "oracle", proved=proved, flags=FAST) == Precision("bfloat16", 8)


def test_what_a_budget_packs_later_gets_the_same_rows():
    assert packed(Precision("float32"), 8, "auto", None, "oracle", flags=FAST) == Precision("bfloat16", 8)
    assert packed(Precision("float32"), 8, "float32", None, "oracle", flags=FAST) == Precision("float32", 8)
    assert packed(Precision("bfloat16"), 8, "auto", None, "interpreter", flags=PLAIN) == Precision("bfloat16", 8)
