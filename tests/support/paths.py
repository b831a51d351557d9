"""Where things lie: the checkout, its samples, and the recordings beside it, which may be missing."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
#: Recordings and label sets of the authors. Tests that need them skip where they are missing.
DATA = ROOT.parent / "shared" / "data"


def python_path(*first: Path) -> str:
    """PYTHONPATH for a process that runs a module of `tests` from another folder."""
    return os.pathsep.join([*map(str, first), str(ROOT), os.environ.get("PYTHONPATH", "")])
