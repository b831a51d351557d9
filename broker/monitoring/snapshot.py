"""A reading of the running system, for the invariants of delivery. `snapshot_reader` takes it."""

from dataclasses import dataclass, field

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
