"""A model is packed only if the budget would not hold it otherwise, and no more than it takes."""

from dataclasses import replace

import pytest

from golem_chain.workers.child.fitting import fitting
from golem_chain.workers.devices.precision import Precision

WHOLE = Precision("float32", product="bfloat16")
NEED = {None: 400, 8: 150, 4: 100}


def chosen(room, form=WHOLE, failing=()):
    return fitting(form, room, lambda one: NEED[one.bits], lambda one: one.bits in failing, pack)


def pack(form, bits):
    return replace(form, bits=bits)


@pytest.mark.parametrize(("room", "bits"), [(1000, None), (400, None), (399, 8), (150, 8), (149, 4), (100, 4)])
def test_it_is_packed_to_as_many_bits_as_fit(room, bits):
    assert chosen(room) == Precision("float32", bits, "bfloat16")


def test_what_does_not_fit_packed_either_stays_so_that_its_refusal_says_what_is_missing():
    assert chosen(99) == WHOLE


def test_bits_that_were_shown_to_answer_otherwise_are_left_out():
    assert chosen(200, failing=(8,)) == Precision("float32", 4, "bfloat16")
    assert chosen(200, failing=(8, 4)) == WHOLE


def test_bits_that_were_asked_for_stay():
    assert chosen(1, Precision("bfloat16", 8)) == Precision("bfloat16", 8)
