"""A copy of the source tree that tests may modify, and tools to run on it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT, python_path

FOLDERS = ("shared", "broker", "workers", "benchmarks", "golem_chain")


def copy_of_source(to: Path) -> Path:
    """Copy the source tree and its settings to another folder, links unchanged, and return that folder."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, to / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


def environment(copy: Path, **given: str) -> dict[str, str]:
    """Return an environment with the copy's `golem_chain` and our `tests`, without coverage of the copy."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return own | {"PYTHONPATH": python_path(copy)} | given


def lint(folder: Path) -> tuple[int, str]:
    """Run import-linter on a copy; return its exit code and its output as one line (it folds long names)."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())
