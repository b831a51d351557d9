"""What one check of `golem doctor` found."""

from dataclasses import dataclass
from typing import Literal

#: `skipped`: the check could not be made here, and its message says why.
Verdict = Literal["ok", "warning", "wrong", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str  # a stable name, for programs
    state: Verdict
    message: str  # a sentence without its full stop
    remedy: str = ""  # what to do; empty if nothing is to be done
