"""The docs are up to date: links, named files and cited functions exist."""

import ast
import re

import pytest

from tests.support.paths import ROOT

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"])
#: Prefixes of paths in the repository.
TOPS = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir() and path.name not in (".git", ".venv"))
page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def anchors(text):
    """Return the anchors of a page's headings, as GitHub generates them."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def named_files(text):
    """Return the repository paths in backticks; `<…>`, `…` and `*` are placeholders."""
    found = re.findall(rf"`((?:{TOPS})/[^`\s]*)`", text)
    return [path for path in found if not re.search(r"[<>*…=]", path)]


@page
def test_every_link_leads_somewhere(page):
    text = page.read_text()
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


@page
def test_every_file_that_is_named_exists(page):
    for path in named_files(page.read_text()):
        assert (ROOT / path).exists(), path


# -- docs/architecture.md ----------------------------------------------------------------------------------------------

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
(LIFE,) = re.findall(r"^## The life of a message\n(.+?)^## ", ARCHITECTURE, re.M | re.S)
#: The steps of "Where to add", one per line.
STEPS = re.findall(r"^\d+\. (.+)$", re.sub(r"\n {3}", " ", ARCHITECTURE[ARCHITECTURE.index("## Where to add") :]), re.M)


def defined(tree):
    """Return the names of functions and classes, methods as `Class.method`."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{inner}" for inner in defined(node))


def test_every_function_of_a_messages_life_is_in_a_file_that_the_section_names():
    files = [path for path in named_files(LIFE) if path.endswith(".py")]
    known = {name for path in files for name in defined(ast.parse((ROOT / path).read_text()))}
    cited = set(re.findall(r"`([A-Z]\w+\.\w+)`", LIFE))
    assert len(cited) >= 9
    assert cited <= known


def test_every_script_of_a_messages_life_exists():
    folders = [ROOT / path for path in named_files(LIFE) if path.endswith("/lua/")]
    scripts = set(re.findall(r"`(\w+\.lua)`", LIFE))
    assert scripts >= {"take.lua", "restore.lua", "finish.lua"}
    assert scripts <= {path.name for folder in folders for path in folder.iterdir()}


def test_the_requests_and_reports_of_the_borders_are_what_the_code_calls_them():
    child, stages = ROOT / "workers" / "child", ROOT / "workers" / "stages"
    for name in ("Recording", "Utterance", "ReplyRequest", "Call", "BatchReport"):
        assert f"`{name}`" in ARCHITECTURE
        files = [child / "batch.py", *stages.glob("*/engine.py")]
        assert any(f"class {name}" in path.read_text() for path in files), name


@pytest.mark.parametrize("step", STEPS)
def test_the_names_in_a_step_of_where_to_add_are_in_its_file(step):
    first, *_ = re.findall(r"`([^`]+)`", step)
    if "<" in first or (ROOT / first).suffix != ".py":
        return
    text = (ROOT / first).read_text()
    for name in re.findall(r"`([A-Za-z_]\w*)`", step):
        assert re.search(rf"\b{name}\b", text), f"{name} in {first}"
