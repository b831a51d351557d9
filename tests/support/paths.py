"""Where things lie: the checkout, its samples, and the recordings beside it, which may be missing."""

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
#: Recordings and label sets of the authors. Tests that need them skip where they are missing.
DATA = ROOT.parent / "shared" / "data"


def python_path(*first: Path) -> str:
    """PYTHONPATH for a process that runs a module of `tests` from another folder."""
    return os.pathsep.join([*map(str, first), str(ROOT), os.environ.get("PYTHONPATH", "")])


def copy_of_source(to: Path) -> Path:
    """The source tree and its settings in another folder, links as they are; -> that folder. What runs with it first in
    PYTHONPATH imports the copy."""
    for name in ("shared", "broker", "workers", "benchmarks", "golem_chain"):
        shutil.copytree(ROOT / name, to / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)
    return to
