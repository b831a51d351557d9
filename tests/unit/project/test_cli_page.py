"""docs/cli.md equals the help of the commands."""

import re

from docs.generate import cli_page
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text()


def test_the_page_is_what_the_code_says():
    assert cli_page.page() == PAGE, "run make docs"


def test_the_page_does_not_depend_on_the_terminal(monkeypatch):
    for columns in ("30", "300"):
        monkeypatch.setenv("COLUMNS", columns)
        assert cli_page.page() == PAGE


def test_forwarded_commands_have_their_own_help_on_the_page():
    sections = dict(re.findall(r"^##+ (golem[a-z ]*)\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S))
    assert "--queues STAGES" in sections["golem worker"]
    assert "--profile PROFILE" in sections["golem models pull"]
    assert "--fillers WORDS" in sections["golem eval ks"]
    assert "--no-memory" in sections["golem bench switch"]
    assert "golem ensure" not in sections, "what is hidden from --help is hidden here"


def test_every_link_of_the_page_leads_to_a_heading():
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^##+ (.+)$", PAGE, re.M)}
    links = set(re.findall(r"\]\(#([^)]+)\)", PAGE))
    commands = {anchor for anchor in anchors if anchor.startswith("golem-")}
    assert links >= commands, "the overview has every command"
    assert links <= anchors
