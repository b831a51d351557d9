"""Coverage is measured correctly: each module once, by its path in the repository, and in all processes."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

MEASURED = ("golem_chain", "shared", "broker", "workers")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The coverage report of a program that starts `golem --version` in a child process."""
    folder = tmp_path_factory.mktemp("coverage")
    program = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'golem_chain.broker.cli', '--version'])"
    (folder / "program.py").write_text(program)
    env = {key: value for key, value in os.environ.items() if not key.startswith("COV")}

    def coverage(*args):
        command = [sys.executable, "-m", "coverage", args[0], "--data-file", folder / "data", *args[1:]]
        subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)

    coverage("run", folder / "program.py")
    coverage("combine", folder)
    coverage("json", "-o", folder / "report.json")
    return json.loads((folder / "report.json").read_text())["files"]


def test_every_module_is_reported_once_by_its_place_in_the_repository(report):
    modules = {str(path.relative_to(ROOT)) for folder in MEASURED for path in (ROOT / folder).rglob("*.py")}
    assert "workers/stages/oracle/engine.py" in modules, "which nothing imported"
    assert {name for name in modules if not name.startswith("golem_chain/")} | {"golem_chain/__init__.py"} == set(
        report
    )


def test_what_another_process_runs_is_covered(report):
    assert report["broker/cli/main.py"]["summary"]["covered_lines"] > 0
    assert report["broker/cli/__main__.py"]["summary"]["percent_covered"] > 50


@pytest.mark.parametrize(("given", "least"), [([], 93), (["TESTS=tests/unit"], 0), (["COVERAGE=50"], 50)])
def test_only_the_whole_suite_must_reach_the_bar(given, least):
    shown = subprocess.run(["make", "-n", "test", *given], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"--cov-fail-under={least} " in shown
