"""The child packs a model that the budget would not hold otherwise, and says so once."""

import logging
from typing import Any

import pytest

from golem_chain.shared.settings import Settings
from golem_chain.workers.child.factory import build_residency

pytestmark = pytest.mark.models


def built(caplog, **given):
    settings = Settings.read(_env_file=None, models="bundled", device="cpu", dtype="float32", **given)
    with caplog.at_level(logging.WARNING):
        residency = build_residency(settings)
    said = [record.getMessage() for record in caplog.records if "packed weights" in record.getMessage()]
    engines: dict[str, Any] = residency.engines
    forms = {stage: engine.weights.precision.name for stage, engine in engines.items()}
    return residency, forms, said


def test_a_model_that_the_budget_would_not_hold_runs_packed(caplog):
    residency, forms, said = built(caplog, memory_budget="400MB")
    assert forms == {"scribe": "float32", "interpreter": "float32", "oracle": "float32 8 bit"}
    assert len(said) == 1
    assert "otherwise it needs 5" in said[0]
    assert "the budget has 400" in said[0]
    with residency.use("oracle") as engine:
        assert engine.weights_bytes < 170_000_000


@pytest.mark.parametrize(
    "given",
    [
        {"memory_budget": "4GiB"},
        {"memory_budget": "400MB", "bits": "off"},
        {"memory_budget": "400MB", "agree": "exact"},
    ],
)
def test_it_is_not_packed_if_it_fits_or_must_not_be(caplog, given):
    _, forms, said = built(caplog, **given)
    assert forms["oracle"] == "float32"
    assert said == []


def test_bits_that_are_asked_for_pack_whatever_the_budget(caplog):
    residency, forms, said = built(caplog, memory_budget="4GiB", bits="4")
    assert forms["oracle"] == "float32 4 bit"
    assert residency.engines["oracle"].weights_bytes < 100_000_000
    assert said == []
