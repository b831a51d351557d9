"""Paths: the checkout, its samples, and the recordings next to it, which may be missing."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
#: The authors' recordings and label sets. Tests that need them skip if they are missing.
DATA = ROOT.parent / "shared" / "data"


def python_path(*first: Path) -> str:
    """Return the PYTHONPATH for a process that runs a module of `tests` from another folder."""
    return os.pathsep.join([*map(str, first), str(ROOT), os.environ.get("PYTHONPATH", "")])
