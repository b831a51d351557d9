"""Names of strangers become text that can be stored, whatever they are."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.shared.text import storable


@pytest.mark.parametrize(
    ("given", "stored"),
    [("Küche.wav", "Küche.wav"), (os.fsdecode(b"a\xff.wav"), "a\\xff.wav"), ("\ud800a\udfff", "\\ud800a\\udfff")],
)
def test_what_is_no_unicode_is_escaped_and_the_rest_stays(given, stored):
    assert storable(given) == stored


@given(st.text(st.characters(codec=None)))
def test_any_name_can_be_stored(name):
    storable(name).encode()
