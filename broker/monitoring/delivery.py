"""Checks the invariants of delivery on the running system.

What looks wrong is read a second time, and only what is wrong in both readings is reported: messages and jobs move
while they are read.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import snapshot_reader
from golem_chain.broker.monitoring.invariants import Culprits, lingering, lost, overdue, unburied, unrestorable
from golem_chain.broker.monitoring.snapshot import Snapshot
from golem_chain.shared.finding import Finding
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from redis import Redis

#: Pause before the second reading, seconds: workers end the jobs of dead letters every second.
PAUSE_S = 1.5
#: Culprits that a message names.
NAMED = 3


@dataclass(frozen=True)
class Invariant:
    """One thing that must hold."""

    check: str
    holds: str
    noun: str  # what breaks it: "key" is counted, `rest` follows
    rest: str
    remedy: str
    culprits: Callable[[Snapshot, float], Culprits]  # the second argument is the length of a lease, seconds
    unknown: Callable[[Snapshot], bool] = lambda _: False  # too much to read: it cannot be checked


INVARIANTS = (
    Invariant(
        "expiry",
        "Every key of a job expires, or its job is live",
        "key",
        "without an expiry and without a live job",
        "give them an expiry with EXPIRE, and report it as a bug",
        lingering,
    ),
    Invariant(
        "in-hand",
        "Every message in hand can be requeued",
        "message",
        "in hand that cannot be requeued",
        "see the worker's log; a worker that restarts makes dead letters of them",
        unrestorable,
    ),
    Invariant(
        "leases",
        "No lease is overdue",
        "lease",
        "overdue",
        "start a worker for these stages, and see the logs of those that run",
        overdue,
    ),
    Invariant(
        "dead-letters",
        "Every job of a dead letter has its Outcome",
        "job",
        "with a dead letter but without an Outcome",
        "end them with golem cancel",
        unburied,
        lambda seen: seen.queues_cut,
    ),
    Invariant(
        "live-jobs",
        "Every live job has a message",
        "live job",
        "without a message",
        "end them with golem cancel and submit them again",
        lost,
        lambda seen: seen.queues_cut,
    ),
)


def examine(client: "Redis", lease_s: float, keys: Keys) -> list[Finding]:
    """Read the system and return one finding for each invariant. `client` must not decode replies. Raises
    redis.RedisError if Redis fails."""
    return check(snapshot_reader.read(client, keys), lease_s, lambda: snapshot_reader.read(client, keys))


def check(seen: Snapshot, lease_s: float, again: Callable[[], Snapshot]) -> list[Finding]:
    """Return the findings. `again` takes the second snapshot, if the first one looks wrong."""
    suspects = {one.check: one.culprits(seen, lease_s) for one in INVARIANTS if not one.unknown(seen)}
    if any(suspects.values()):
        time.sleep(PAUSE_S)
        seen = again()
    return [finding(one, seen, suspects.get(one.check), lease_s) for one in INVARIANTS]


def finding(one: Invariant, seen: Snapshot, suspects: Culprits | None, lease_s: float) -> Finding:
    """Return the finding for those suspects that are wrong in this snapshot too; None: there were too many to read."""
    if suspects is None or one.unknown(seen):
        told = f"{one.holds}: not checked, more messages wait than are read ({snapshot_reader.QUEUE_MOST:,} of a queue)"
        return Finding(one.check, "skipped", told)
    wrong = {name: why for name, why in one.culprits(seen, lease_s).items() if name in suspects} if suspects else {}
    if wrong:
        count = f"{len(wrong)} {one.noun}{'' if len(wrong) == 1 else 's'}"
        return Finding(one.check, "wrong", f"{count} {one.rest} ({_listed(wrong)})", one.remedy)
    cut = (
        f", among the first {snapshot_reader.KEYS_MOST:,} keys"
        if seen.keys_cut and one.culprits in (lingering, lost)
        else ""
    )
    return Finding(one.check, "ok", one.holds + cut)


def _listed(wrong: Culprits) -> str:
    def shown() -> Iterable[str]:
        for name in sorted(wrong)[:NAMED]:
            yield visible(name, 100) + (f" {wrong[name]}" if wrong[name] else "")

    return ", ".join(shown()) + (", …" if len(wrong) > NAMED else "")
