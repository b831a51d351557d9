"""The documentation site: its navigation, its links, and a strict build if mkdocs is installed."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml

from docs.generate import site_links
from golem_chain.shared.settings import Settings
from tests.support import commands
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = {str(path.relative_to(DOCS)): path for path in DOCS.rglob("*.md")}
GUIDES = [name for name in PAGES if name.startswith("how-to/")] + ["index.md", "tutorial.md"]


def pages(nav):
    """Return the files of a navigation, in order."""
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from [value] if isinstance(value, str) else pages(value)


def test_the_navigation_names_every_page_once_and_no_other():
    named = list(pages(CONFIG["nav"]))
    assert len(named) == len(set(named))
    assert set(named) == set(PAGES) | set(site_links.MIRRORED)
    for source in site_links.MIRRORED.values():
        assert (ROOT / source).exists(), source


def test_guides_reference_and_explanation_are_kept_apart():
    parts = {name: set(pages(below)) for part in CONFIG["nav"] for name, below in part.items()}
    assert list(parts) == ["Start", "How-to guides", "Reference", "Explanation"]
    assert {name for name in PAGES if name.startswith("how-to/")} <= parts["How-to guides"]
    assert {name for name in PAGES if name.startswith("adr/")} <= parts["Explanation"]
    assert "settings.md" in parts["Reference"]


def test_nothing_is_fetched_when_a_page_is_read():
    assert CONFIG["theme"]["font"] is False
    for key in ("extra_css", "extra_javascript"):
        assert not [name for name in CONFIG.get(key, ()) if "//" in name]


def test_no_broken_link_is_let_through():
    checks = CONFIG["validation"]["nav"] | CONFIG["validation"]["links"]
    assert set(checks) == {"omitted_files", "not_found", "absolute_links", "anchors", "unrecognized_links"}
    assert set(checks.values()) == {"warn"}  # --strict turns warnings into errors
    (recipe,) = re.findall(r"^site: \$\(SITE_STAMP\) ## .+\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert "mkdocs build --strict --site-dir build/site" in recipe
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert [step["run"] for step in ci["jobs"]["site"]["steps"] if "run" in step] == ["make site PYTHON=python3.12"]


@pytest.mark.parametrize("name", GUIDES)
def test_every_command_and_setting_of_a_guide_exists(name):
    text = PAGES[name].read_text()
    commands.check(commands.shown(text))
    known = {f"GOLEM_{key.upper()}" for key in Settings.model_fields} | {"GOLEM_DEBUG"}
    users = {f"GOLEM_ACL_{user}" for user in ("WORKER", "PRODUCER", "DOOR", "DELIVERER", "MONITOR", "FLOWER")}
    assert set(re.findall(r"\bGOLEM_[A-Z_]+", text)) <= known | users


@pytest.mark.parametrize(
    ("page", "written", "on_the_site"),
    [
        ("delivery.md", "[`take.lua`](../broker/transport/lua/take.lua)", "`broker/transport/lua/take.lua`"),
        ("delivery.md", "[the keys](../broker/keys.py)", "the keys (`broker/keys.py`)"),
        ("adr/0001-x.md", "[`broker/transport/`](../../broker/transport/)", "`broker/transport/`"),
        ("delivery.md", "[glossary](glossary.md)", "[glossary](glossary.md)"),
        ("delivery.md", "see [memory.md](memory.md#modes)", "see [Memory](memory.md#modes)"),
        ("how-to/monitor.md", "[it](../delivery.md)", "[it](../delivery.md)"),
        ("how-to/install.md", "[Contribute](../../CONTRIBUTING.md#style)", "[Contribute](../contributing.md#style)"),
        ("contributing.md", "[SECURITY.md](SECURITY.md)", "[Security policy](security-policy.md)"),
        ("contributing.md", "[records](docs/adr/README.md)", "[records](adr/README.md)"),
        ("contributing.md", "the [licence](LICENSE)", "the licence (`LICENSE`)"),
        ("delivery.md", "[web](https://example.org/a.py)", "[web](https://example.org/a.py)"),
        ("delivery.md", "[here](#limits)", "[here](#limits)"),
        ("delivery.md", "![plot](../x.png)", "![plot](../x.png)"),
        ("delivery.md", "`[a](../x.py)`", "`[a](../x.py)`"),
        ("delivery.md", "```\n[a](../x.py)\n```\n", "```\n[a](../x.py)\n```\n"),
    ],
)
def test_links_that_leave_the_site_become_paths(page, written, on_the_site):
    assert site_links.for_the_site(written, page) == on_the_site


def test_a_broken_link_stays_for_mkdocs_to_report():
    for link in ("[a](../broker/no_such_file.py)", "[no_such_page.md](no_such_page.md)"):
        assert site_links.for_the_site(link, "delivery.md") == link


@pytest.mark.skipif(not find_spec("mkdocs"), reason="mkdocs is not installed: make site")
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    built = {str(path.parent.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("index.html")}
    assert {"how-to/install", "settings", "contributing", "adr"} <= built
    assert not (tmp_path / "site" / "generate").exists()
    loaded = re.compile(r"""<(?:link|script|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")
    for page in (tmp_path / "site").rglob("*.html"):
        assert not loaded.findall(page.read_text()), page
