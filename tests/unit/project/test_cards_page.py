"""docs/cards.md equals what the program decides today."""

import pytest

from docs.generate import cards_page
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "cards.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_program_decides():
    assert cards_page.page() == PAGE, "run make docs"


def test_it_says_that_it_is_computed():
    assert "**Computed, not run**" in PAGE


@pytest.mark.parametrize(
    ("profile", "megabytes"), [("quest", (151.0, 1024.7, 327.7)), ("bundled", (151.0, 90.9, 538.1))]
)
def test_the_shapes_have_the_sizes_that_were_measured_with_real_files(profile, megabytes):
    for shape, expected in zip(cards_page.PROFILES[profile].values(), megabytes, strict=True):
        _, count = cards_page.size_of(shape)
        assert 4 * count / 1e6 == pytest.approx(expected, rel=0.002), "docs/memory.md has the sizes in float32"


def test_what_is_refused_names_the_setting_that_helps():
    refused = [line for line in PAGE.splitlines() if ": refused:" in line]
    assert refused
    assert all("GOLEM_MEMORY_BUDGET" in line and "_MODEL" in line for line in refused)
