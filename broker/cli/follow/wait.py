"""Waits for jobs, in the order of their ends: those of a command through its group, whose counters show the bars, and
others by their ids."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from golem_chain.broker.cli.follow.progress import ENDED, Progress
from golem_chain.broker.cli.follow.report import Report
from golem_chain.broker.jobs.groups import End
from golem_chain.broker.pipeline import Group, Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.broker.submission import Submitted
from golem_chain.shared.errors import BadRequest, BrokerAway
from golem_chain.shared.records import Outcome
from golem_chain.shared.text import storable

#: Interval of showing what has ended, of updating the bars and of checking the worker, seconds.
LOOK_S = 0.3
#: Ends that are shown at once.
_AT_ONCE = 200
#: How many jobs are asked how far their recordings are, and how many per second.
SAMPLE, ASKED_PER_S = 200, 100


Ended = TypeVar("Ended", End, Outcome)


class Following:
    """The jobs of one command, in a group: submitted, then waited for. Other jobs of the group are left out."""

    def __init__(
        self,
        pipeline: Pipeline,
        group: Group,
        report: Report,
        screen: Progress,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`check` may raise to abort."""
        self._pipeline, self._group, self._report, self._screen, self._check = pipeline, group, report, screen, check
        # The names under which each unfinished job was submitted, in the order of the submit. An id that is not random
        # may have several, and another one in its Outcome: that of the first who submitted it.
        self._left: dict[str, tuple[str, ...]] = {}  # in the group
        self._before: dict[str, tuple[str, ...]] = {}  # submitted before: perhaps in no group, or in another
        self._grouped = False  # a job of ours is in the group
        self.lost = False  # Redis no longer knows the group: it was emptied
        self._look_at = self._far_at = 0.0
        self._far = (0.0, 0.0)

    @property
    def go_on(self) -> str:
        """The command that goes on with what has not ended."""
        if self._grouped or not self._before:
            return self._report.go_on(self._group.name)
        shown = " ".join(islice(self._before, 3)) + (" …" if len(self._before) > 3 else "")
        return f"golem results {shown} --wait"

    def submitted(self, name: str, one: Submitted) -> None:
        """Take up a job under the name that it is to be reported with."""
        jobs = self._before if one.before and one.id not in self._left else self._left
        self._grouped = self._grouped or not one.before
        jobs[one.id] = (*jobs.get(one.id, ()), storable(name))

    def look(self, to_come: int) -> None:
        """Show what has ended, from time to time, when all submitted jobs were taken up. `to_come`: how many are still
        to be submitted."""
        if time.monotonic() >= self._look_at:
            self._check()
            self._take(self._group.ends(self._report.cursor))
            self._bars(to_come)
            self._look_at = time.monotonic() + LOOK_S

    def wait(self) -> None:
        """Wait until all have ended. Raises BrokerAway if Redis is away for too long."""
        if self._left:
            for ends in self._ends():
                self._take(ends)
                self._check()
                self._bars()
                if not self._left:
                    break
        # A job that its group has lost, such as one of a producer that forged the counters, still has its Outcome.
        others = self._left | self._before
        for outcomes in in_parts(self._pipeline.watch(others, LOOK_S)):
            self._report.ended([each for one in outcomes for each in under(others[one.job], one)])
            self._check()

    def _ends(self) -> Iterator[list[End]]:
        try:
            yield from in_parts(self._group.watch(self._report.cursor, LOOK_S))
        except BadRequest:  # the jobs are asked for by their ids, which says what is lost
            self.lost = True

    def _take(self, ends: Sequence[End]) -> None:
        own = [(end, self._left.pop(end.job)) for end in ends if end.job in self._left]
        self._report.ends([each for end, names in own for each in named(names, end)])
        if ends:
            self._report.cursor = ends[-1].cursor

    def _bars(self, to_come: int = 0) -> None:
        if not self._screen.live:
            return
        with suppress(BrokerAway, BadRequest):  # it is waited for elsewhere; a group without jobs is not there yet
            status = self._group.status()
            passed = {stage: status.passed(stage) for stage in STAGES}
            if not status.at[STAGES[0]]:
                self._far = (0.0, 0.0)
            elif time.monotonic() >= self._far_at:
                asked = in_first_stage(self._left, passed[STAGES[0]] - status.ended)
                self._far = self._pipeline.heard(asked)
                self._far_at = time.monotonic() + len(asked) / ASKED_PER_S
            self._screen.show(passed, self._far, status.jobs + to_come)


def under(names: Sequence[str], outcome: Outcome) -> list[Outcome]:
    """Return an Outcome under each of its names. Pure."""
    return [outcome if outcome.name == name else outcome.model_copy(update={"name": name}) for name in names]


def named(names: Sequence[str], end: End) -> list[End]:
    """Return an end under each of its names. Pure."""
    if end.outcome is None:
        return [end] * len(names)
    return [end._replace(outcome=one) for one in under(names, end.outcome)]


def in_first_stage(left: Iterable[str], past: int) -> list[str]:
    """Return the jobs that are probably in the first stage. Pure. Jobs are taken in their order: of those that have not
    ended, about the first `past` are past it."""
    first = max(0, past - SAMPLE // 4)
    return list(islice(left, first, first + SAMPLE))


def in_parts(ends: Iterable[Ended | None]) -> Iterator[list[Ended]]:
    """Gather what has ended until the next tick (None), at most 200; a part may be empty."""
    part: list[Ended] = []
    for end in ends:
        if end is not None:
            part.append(end)
        if end is None or len(part) >= _AT_ONCE:
            yield part
            part = []
    yield part


def follow_group(group: Group, report: Report, screen: Progress) -> None:
    """Wait until all jobs of a group that were submitted so far have ended, whoever submitted them."""
    for ends in in_parts(group.watch(report.cursor, LOOK_S)):
        report.ends(ends)
        if screen.live:
            with suppress(BrokerAway):
                status = group.status()
                screen.show({ENDED: status.ended}, total=status.jobs)


def follow_jobs(pipeline: Pipeline, jobs: Sequence[str], report: Report, screen: Progress) -> None:
    """Wait for jobs by their ids. The bars of more than SAMPLE jobs are estimated from jobs at equal distances."""
    left, ended = dict.fromkeys(jobs), 0
    shown = dict.fromkeys(STAGES, 0)
    update = time.monotonic()
    for outcomes in in_parts(pipeline.watch(jobs, LOOK_S)):
        for outcome in outcomes:
            left.pop(outcome.job, None)
        ended += len(outcomes)
        report.ended(outcomes)
        if screen.live and left and time.monotonic() >= update:
            with suppress(BrokerAway):  # `watch` decides how long to wait for Redis
                asked = list(islice(left, 0, None, math.ceil(len(left) / SAMPLE)))
                passed = {
                    stage: round(count * len(left) / len(asked)) for stage, count in pipeline.progress(asked).items()
                }
                shown = {stage: max(shown[stage], count + ended) for stage, count in passed.items()}
                screen.show(shown, pipeline.heard(in_first_stage(left, passed[STAGES[0]])))
            update = time.monotonic() + min(len(left), SAMPLE) / ASKED_PER_S
