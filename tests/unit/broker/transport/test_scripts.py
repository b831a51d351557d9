"""The Lua scripts: complete headers, named keys, no comments in the text sent to Redis."""

import re
from pathlib import Path

import pytest

from golem_chain.broker import jobs, transport
from golem_chain.broker.transport import scripts

FOLDERS = {package.__name__: Path(package.__path__[0]) / "lua" for package in (transport, jobs)}
SCRIPTS = [
    (package, path.stem)
    for package, folder in FOLDERS.items()
    for path in sorted(folder.glob("*.lua"))
    if not path.stem.startswith("_")
]


def header(package, name):
    lines = (FOLDERS[package] / f"{name}.lua").read_text().splitlines()
    return lines[: next(n for n, line in enumerate(lines) if not line.startswith("--"))]


def test_all_scripts_were_found():
    assert len(SCRIPTS) == 28


@pytest.mark.parametrize(("package", "name"), SCRIPTS)
def test_a_script_names_its_keys_and_what_it_reads_writes_and_returns(package, name):
    told = [match[1] for line in header(package, name) if (match := re.match(r"-- ([A-Za-z]+) {2,}\S|-- (\w+)$", line))]
    words = {line[3:].split(" ")[0] for line in header(package, name)}
    assert words >= {"KEYS", "ARGV", "reads", "writes", "returns"}, told


@pytest.mark.parametrize(("package", "name"), SCRIPTS)
def test_a_script_uses_its_keys_by_name(package, name):
    body = scripts.load(name, package)
    numbered = [line for line in body.splitlines() if re.search(r"(KEYS|ARGV)\[\d+\]", line)]
    assert all(line.startswith(("local ", "return end_job(")) for line in numbered), numbered


@pytest.mark.parametrize(("package", "name"), SCRIPTS)
def test_what_crosses_the_wire_is_code_alone(package, name):
    text = scripts.load(name, package)
    assert text
    assert not [line for line in text.splitlines() if line.startswith("--")]
    included = ("claim", "forget", "leased", "strike", "push", "restore", "end_job", "other_wire")
    for helper in included:
        if re.search(rf"\b{helper}\(", text):
            assert f"local function {helper}(" in text


@pytest.mark.parametrize(("package", "name"), SCRIPTS)
def test_redis_can_compile_every_script(package, name, client):
    assert client.script_load(scripts.load(name, package))
