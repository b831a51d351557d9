"""What one check of `golem doctor` found."""

from dataclasses import dataclass
from typing import Literal, Self

from golem_chain.shared.errors import GolemError

#: `skipped`: the check could not be made here, and its message says why.
Verdict = Literal["ok", "warning", "wrong", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str  # a stable name, for programs
    state: Verdict
    message: str  # a sentence without its full stop
    remedy: str = ""  # what to do; empty if nothing is to be done

    @classmethod
    def of_error(cls, check: str, error: GolemError, separator: str = ": ") -> Self:
        """Return the finding `wrong` of an error, whose message ends with the separator and the remedy."""
        told, _, remedy = error.message.rstrip(".").rpartition(separator)
        return cls(check, "wrong", told, remedy) if told else cls(check, "wrong", remedy)
