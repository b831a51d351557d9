"""The changelog has a section for the released version and one for the next."""

import re
import tomllib
from datetime import date

from tests.support.paths import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
HEADINGS = re.findall(r"^## (.+)$", CHANGELOG, re.M)


def test_unreleased_comes_first_then_released_versions_with_their_dates_newest_first():
    assert HEADINGS[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in HEADINGS[1:]]
    assert all(released)
    versions = [(*map(int, found.groups()[:3]), date.fromisoformat(found[4])) for found in released if found]
    assert versions == sorted(versions, reverse=True)


def test_the_version_of_the_project_has_a_section():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert [heading for heading in HEADINGS if heading.startswith(f"[{version}] - ")]
