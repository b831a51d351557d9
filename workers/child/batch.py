"""What crosses the pipe between parent and child: the messages of one take, and how each of them ended."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from celery import current_app

from golem_chain.broker.transport.message import Lease
from golem_chain.shared.records import Lane


class Call(NamedTuple):
    """A message in hand, for the child."""

    job: str
    lease: Lease
    retries: int = 0  # earlier runs that ended with a retryable error
    waited_s: float = 0.0  # from publishing until it was taken, by the server's clock; 0: unknown
    lane: Lane = "bulk"  # the one that it was taken from
    pilot: bool = False  # of its take only the cheapest job runs


class How(StrEnum):
    """How a message ended in the child. The first four are final: the booking is deleted."""

    DONE = "done"
    FAILED = "failed"
    AGAIN = "again"  # after a retryable error: a new message is published
    LOST = "lost"  # the lease was lost, another delivery decides
    ALONE = "alone"  # the batch failed as a whole: to be requeued, it runs alone
    AWAY = "away"  # Redis was down: to be requeued, no delivery is counted
    PUT_OFF = "put off"  # it would take long: to be requeued, no delivery is counted, it runs alone
    YIELDED = "yielded"  # an interactive job or a pilot goes first: to be requeued, no delivery is counted


class End(NamedTuple):
    """The end of one message."""

    how: How
    seconds: float  # from the start of the batch
    error: str = ""  # the name of an exception; the text could hold words of users


class BatchReport(NamedTuple):
    """The child's report on a batch: the end of each message, and the models that are now loaded."""

    ends: Sequence[End]
    resident: frozenset[str]
    load_costs: dict[str, float]  # measured load time by stage, seconds


def run_together(task: str, calls: Sequence[Call]) -> BatchReport:
    """Run a batch: this is the pool job, found by its name in the child."""
    report: BatchReport = current_app.tasks[task].run_batch(calls)
    return report
