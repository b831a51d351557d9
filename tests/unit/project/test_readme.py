"""The README is up to date: its links, commands, settings and sample output are compared with the program."""

import ast
import os
import re
import subprocess
import sys
from itertools import pairwise

import pytest

from docs.generate import readme_run
from golem_chain.shared.settings import Settings
from tests.support import commands
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
SAMPLES = {path.name for path in (ROOT / "samples").glob("*.flac")}


def shown_run():
    """Return the README's output of `make run`: {file: [words, intent]}, and the line of totals."""
    text = next(text for kind, text in BLOCKS if kind == "console")
    return rows(text), text.strip().splitlines()[-1]


def rows(text):
    """Return {file: [words, intent]} of a wide table, with the lines of each job joined."""
    lines = text.splitlines()
    (head,) = [line for line in lines if re.match(r"\s*file\s+words\s+intent\s+reply\s+.*\bs\s*$", line)]
    starts = [head.index(name) for name in ("file", "words", "intent", "reply")]
    found: dict[str, list[list[str]]] = {}
    name: str | None = None
    for line in lines[lines.index(head) + 2 :]:
        cells = [line[a:b].strip() for a, b in pairwise(starts)]
        name = cells[0] or name
        if not line.strip() or name is None:
            break
        kept = found.setdefault(name, [[], []])
        for place in (0, 1):
            kept[place] += cells[place + 1].split()
    return found


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(links) > 10
    for link in links:
        assert (ROOT / link).exists(), link


def test_every_make_target_exists():
    (names,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)
    targets = set(names.split())
    for words in re.findall(r"(?:`|^\$ )make ((?:[a-z]+ ?)+)", README, re.M):
        assert set(words.split()) <= targets, words


def test_every_command_and_option_exists():
    used = commands.shown(README)
    assert len(used) > 15
    commands.check(used)


def test_every_setting_exists():
    fields = {f"GOLEM_{key.upper()}" for key in Settings.model_fields} | {"GOLEM_DEBUG"}
    named = set(re.findall(r"\bGOLEM_[A-Z_]+", README))
    assert named
    assert named <= fields


def test_the_python_example_is_python_and_its_names_exist():
    from golem_chain.broker.pipeline import Pipeline

    (text,) = [text for kind, text in BLOCKS if kind == "python"]
    called = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    assert {"submit", "wait"} <= called
    assert hasattr(Pipeline, "submit")
    assert hasattr(Pipeline, "wait")


def test_the_shown_commands_are_those_that_were_run():
    _, alone, together = [text for kind, text in BLOCKS if kind == "console"]
    for shown, ran in ((alone, readme_run.ALONE), (together, readme_run.TOGETHER)):
        assert tuple(re.findall(r"^\$ (.+)$", shown, re.M)) == ran


def test_the_shown_run_names_every_sample():
    table, totals = shown_run()
    assert set(table) == {f"samples/{name}" for name in SAMPLES}
    assert re.match(r"10 jobs · [\d.]+ s · \d model loads · peak memory [\d.]+ [MG]B on cpu$", totals)


@pytest.mark.models
@pytest.mark.timeout(300)
def test_the_shown_run_is_what_a_run_gives():
    files = sorted(f"samples/{name}" for name in SAMPLES)
    env = os.environ | {"GOLEM_MODELS": "bundled", "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-m", "golem_chain.broker.cli", "run", *files],
        cwd=ROOT,
        env=env,
        text=True,
        capture_output=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    table, _ = shown_run()
    real = rows(done.stdout)
    assert set(real) == set(table)
    for name, (words, intent) in table.items():
        # The last digits of scores differ between processors; transcripts and intents do not.
        assert real[name][0] == words, name
        assert real[name][1][0] == intent[0], name
    assert re.match(r"10 jobs · [\d.]+ s · \d model loads · ", done.stderr.strip().splitlines()[-1])
