"""What the page consists of: pinned libraries, modules that make no markup from strings, and no more than 200 KB."""

import hashlib
import re

import pytest

from golem_chain.broker.doors.page import vendor
from golem_chain.broker.doors.page.assets import Asset, assets
from golem_chain.broker.doors.page.routes import CONTENT_SECURITY_POLICY, knows

MOST_BYTES = 200_000
#: Ways from a string to markup or code.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTMLUnsafe|createContextualFragment|DOMParser|srcdoc"
    r"|\beval\(|new Function|setTimeout\([\"'`]|javascript:"
)
OURS = {name: asset.data.decode() for name, asset in assets().items() if not name.startswith("vendor/")}


def test_the_libraries_are_the_pinned_ones():
    pinned = {f"vendor/{name}": sha256 for package in vendor.PACKAGES for _, name, sha256 in package.files}
    found = {name: hashlib.sha256(asset.data).hexdigest() for name, asset in assets().items()}
    assert {
        name: found[name] for name in found if name.startswith("vendor/") and name.endswith(("js", "css"))
    } == pinned


def test_each_library_comes_with_its_licence():
    text = assets()["vendor/LICENSES.txt"].data.decode()
    for package in vendor.PACKAGES:
        assert f"{package.name} {package.version}\n" in text
    assert "MIT License" in text
    assert "BSD 3-Clause License" in text


def test_a_file_that_differs_from_its_pin_is_refused():
    with pytest.raises(vendor.BadPackage, match="read what changed"):
        vendor.checked(b"another", "0" * 64, "uplot-1.6.32.tgz: dist/uPlot.iife.min.js")


@pytest.mark.parametrize("name", sorted(OURS))
def test_no_module_makes_markup_or_code_from_a_string(name):
    assert not FORBIDDEN.search(OURS[name])


def test_nothing_stands_inline_in_the_page():
    page = OURS["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)


def test_every_file_that_is_named_is_there_and_every_module_is_used():
    named = set(re.findall(r'(?:src|href)="/static/([^"]+)"', OURS["index.html"]))
    for name, text in OURS.items():
        for path in re.findall(r'(?:from|import\()\s*"([./][^"]+)"', text):
            named.add(resolved(name, path))
    assert named - assets().keys() == set()
    assert assets().keys() - named == {"index.html"}


def resolved(module, path):
    """The asset that a module's import names."""
    parts = module.split("/")[:-1]
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def test_nothing_is_fetched_from_elsewhere():
    for name, text in OURS.items():
        urls = set(re.findall(r"https?://[^\s\"'`)$]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not {url for url in urls if not url.startswith("http://localhost:")}, name


def test_the_whole_page_weighs_less_than_200_kilobytes():
    assert sum(len(asset.gzipped) for asset in assets().values()) < MOST_BYTES / 2
    loaded_at_once = {name: asset for name, asset in assets().items() if "wavesurfer" not in name}
    assert sum(len(asset.data) for asset in loaded_at_once.values()) < MOST_BYTES


def test_every_block_of_a_style_sheet_is_closed():
    sheets = {name: text for name, text in OURS.items() if name.endswith(".css")}
    assert len(sheets) == 4
    assert {name: text.count("{") - text.count("}") for name, text in sheets.items()} == dict.fromkeys(sheets, 0)


def test_modules_are_short():
    assert {name: text.count("\n") for name, text in OURS.items() if text.count("\n") > 210} == {}


def test_the_policy_allows_no_inline_script_no_style_and_no_other_source():
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'; script-src 'self'; style-src 'self';")


@pytest.mark.parametrize(
    ("header", "known"),
    [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("", False), ("a", False)],
)
def test_a_browser_that_has_the_file_is_told_so(header, known):
    assert knows(Asset("text/css", '"a"', b"", b""), header) is known
