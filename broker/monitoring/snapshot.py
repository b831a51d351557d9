"""A reading of the running system, for the invariants of delivery. `snapshot_reader` takes it."""

import json
from dataclasses import dataclass, field
from functools import cached_property

from golem_chain.broker.queues import job_of
from golem_chain.broker.transport.dead_letter import Letter


@dataclass(frozen=True)
class JobState:
    """A job as Redis knows it."""

    known: bool = False  # it has a record
    ended: bool = False  # it has an Outcome
    sent: bool = False  # its message was published: the record says so, or no longer expires

    @property
    def live(self) -> bool:
        """Whether it has yet to end."""
        return self.known and not self.ended


@dataclass(frozen=True)
class Hand:
    """An entry of the unacknowledged hash."""

    entry: bytes
    renewed: float | None  # when its lease was renewed, None without an entry in the index
    holder: bytes | None


@dataclass(frozen=True)
class Snapshot:
    """One reading of the system."""

    lasting: dict[str, list[str] | None] = field(default_factory=dict)  # key without expiry -> its jobs; None: many
    jobs: dict[str, JobState] = field(default_factory=dict)  # before the messages were read
    later: dict[str, JobState] = field(default_factory=dict)  # after that
    waiting: list[bytes] = field(default_factory=list)  # messages in queues
    hand: dict[bytes, Hand] = field(default_factory=dict)  # by tag
    held: list[bytes] = field(default_factory=list)  # messages in hand, read together with the queues
    letters: list[Letter] = field(default_factory=list)
    dying: list[Letter] = field(default_factory=list)
    now: float = 0.0  # of the server
    keys_cut: bool = False  # there are more keys
    queues_cut: bool = False  # there are more messages

    @cached_property
    def placed(self) -> set[str]:
        """The jobs that have a message in a queue or in hand."""
        bodies = (*self.waiting, *(entry.partition(b" ")[2] for entry in self.held))
        return {job for raw in bodies if (job := _job_in(raw))}


def _job_in(raw: bytes) -> str:
    """Return the job of an untrusted message; empty if it has none."""
    try:
        return job_of(str(json.loads(raw)["headers"]["id"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
