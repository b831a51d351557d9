"""Prints what `golem upgrade` has moved, or would move."""

from golem_chain.broker.cli.console import line, say
from golem_chain.broker.upgrade import Upgraded
from golem_chain.broker.wire import WIRE


def report(done: Upgraded, *, dry_run: bool, as_json: bool) -> None:
    """Print one object, or a sentence for each kind of message."""
    moved = done.moved
    if as_json:
        line({"wire": WIRE, "was": done.was, "dry_run": dry_run, "waiting": moved.waiting, "in_hand": moved.in_hand})
        return
    verb = "Would move" if dry_run else "Moved"
    if moved.waiting:
        counts = ", ".join(f"{stage} {count}" for stage, count in moved.waiting.items())
        say(f"{verb} {_jobs(sum(moved.waiting.values()))} that waited to the new queues ({counts}).")
    if moved.in_hand:
        say(f"{verb} {_jobs(moved.in_hand)} that workers had in hand to the head of the queues.")
    if not moved:
        say("There is nothing to move.")
    if not dry_run:
        say("The system is ready: start the workers of this release, and upgrade the producers.")


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'}"
