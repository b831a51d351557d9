"""What must hold on a living system at any moment: pure functions of a snapshot that return what is wrong.

Each takes the snapshot and the length of a lease in seconds, and returns its culprits.
"""

from collections.abc import Mapping

from golem_chain.broker.monitoring.snapshot import Hand, Snapshot
from golem_chain.broker.transport.message import BOOKED

#: A lease is overdue after this many lengths of a lease: workers requeue it after one.
OVERDUE = 2

#: Culprit -> what is wrong with it; empty: nothing to add.
Culprits = Mapping[str, str]


def lingering(seen: Snapshot, lease_s: float) -> Culprits:
    """Return keys that neither expire nor belong to a live job."""
    del lease_s
    return {
        key: ""
        for key, jobs in seen.lasting.items()
        if jobs is not None and not any(seen.jobs[job].live for job in jobs if job in seen.jobs)
    }


def unrestorable(seen: Snapshot, lease_s: float) -> Culprits:
    """Return messages in hand that could not be requeued."""
    del lease_s
    return {_name(tag): why for tag, hand in seen.hand.items() if (why := _why_unrestorable(hand))}


def _why_unrestorable(hand: Hand) -> str:
    if hand.entry.partition(b" ")[0].decode(errors="replace") not in BOOKED:
        return "belongs to no queue of ours"
    if hand.renewed is None:
        return "has no lease"
    return "" if hand.holder else "has no holder"


def overdue(seen: Snapshot, lease_s: float) -> Culprits:
    """Return messages whose lease expired, but which no worker has requeued."""
    late = {tag: seen.now - hand.renewed for tag, hand in seen.hand.items() if hand.renewed is not None}
    return {_name(tag): f"renewed {late_s:.0f} s ago" for tag, late_s in late.items() if late_s > OVERDUE * lease_s}


def unburied(seen: Snapshot, lease_s: float) -> Culprits:
    """Return jobs of dead letters that no worker is going to end."""
    del lease_s
    awaited = {letter.job for letter in seen.dying} | seen.placed
    jobs = {letter.job for letter in seen.letters if letter.job} - awaited
    return {job: "" for job in sorted(jobs) if job in seen.later and seen.later[job].live}


def lost(seen: Snapshot, lease_s: float) -> Culprits:
    """Return live jobs without a message. Those of dead letters are in `unburied`."""
    del lease_s
    elsewhere = seen.placed | {letter.job for letter in (*seen.letters, *seen.dying) if letter.job}
    return {
        job: ""
        for job, state in seen.jobs.items()
        if state.live and state.sent and job not in elsewhere and seen.later[job].live
    }


def _name(tag: bytes) -> str:
    return tag.decode(errors="backslashreplace")
