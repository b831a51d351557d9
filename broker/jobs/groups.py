"""Groups of jobs: their counters, the stream of their ends, and their cancellation. The server counts, so that each
costs the same for any number of jobs."""

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import redis

from golem_chain.broker.jobs.outcomes import AWAY_S, Outcomes
from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.scripts import Script
from golem_chain.shared.errors import BadRequest, UnknownGroup
from golem_chain.shared.records import Outcome, State

#: The cursor before the first end.
FIRST = "0-0"
#: Ends read at once, and how long the server holds a read that finds none, seconds.
_PAGE, _BLOCK_S = 200, 2.0
_STATES: tuple[State, ...] = ("done", "failed", "cancelled", "expired")


class GroupStatus(NamedTuple):
    """The counters of a group."""

    jobs: int  # submitted so far
    done: int
    failed: int
    cancelled: int
    expired: int
    at: dict[str, int]  # stage -> jobs that wait for it or are in it
    cancelled_at: float | None = None  # when the group was cancelled, Unix seconds of the server

    @property
    def ended(self) -> int:
        """How many jobs have ended."""
        return self.done + self.failed + self.cancelled + self.expired

    def passed(self, stage: str) -> int:
        """How many jobs have finished a stage, or have ended."""
        return self.jobs - sum(self.at.get(one, 0) for one in STAGES[: STAGES.index(stage) + 1])


class End(NamedTuple):
    """The end of a job of a group."""

    cursor: str  # where to go on after this end
    job: str
    state: str
    outcome: Outcome | None  # None: no longer kept (GOLEM_KEEP_S)


class Groups:
    """The groups of one Redis server."""

    def __init__(self, client: redis.Redis, keys: Keys, outcomes: Outcomes) -> None:
        self._client, self._keys, self._outcomes = client, keys, outcomes
        self._cancel = Script(client, "cancel_group")

    def status(self, name: str) -> GroupStatus:
        """Return the counters. Raises BadRequest for a group without jobs, or one that has expired."""
        found = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.group(name)))
        if not found:
            raise _unknown(name)
        done, failed, cancelled, expired = (_number(found, state) for state in _STATES)
        at = {stage: _number(found, f"at:{stage}") for stage in STAGES}
        cancelled_at = _number(found, "cancelled_at") or None
        return GroupStatus(_number(found, "jobs"), done, failed, cancelled, expired, at, cancelled_at)

    def cancel(self, name: str) -> GroupStatus:
        """Cancel every unfinished job of a group, and refuse further ones. Running jobs end within a second, waiting
        ones when a worker takes their messages. Raises BadRequest for an unknown group."""
        if not self._cancel(keys=[self._keys.group(name)], args=[]):
            raise _unknown(name)
        return self.status(name)

    def ends(self, name: str, since: str = FIRST) -> list[End]:
        """Return the next ends after a cursor, at most 200, in their order."""
        return self._page(self._read(name, since))

    def now(self) -> str:
        """Return a cursor before every end that follows, by the server's clock."""
        seconds, microseconds = self._client.time()
        return f"{seconds * 1000 + microseconds // 1000 - 1}-0"

    def wait(self, name: str, since: str = FIRST, timeout_s: float | None = None) -> Iterator[End]:
        """Yield the ends after a cursor in their order, until all jobs submitted so far have ended, or `timeout_s` have
        passed. Survives a restart of Redis. Raises BadRequest for an unknown group."""
        return (end for end in self.watch(name, since, timeout_s) if end)

    def watch(
        self, name: str, since: str = FIRST, timeout_s: float | None = None, tick_s: float = _BLOCK_S
    ) -> Iterator[End | None]:
        """As `wait`, but also yield None about every `tick_s` seconds, even if jobs end all the time or Redis is away,
        so that the caller can do something else."""
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        answered, tick = time.monotonic(), time.monotonic() + tick_s
        self.status(name)
        block_s = 0.0  # if nothing has ended, ask first if anything will
        while True:
            try:
                rows = self._read(name, since, block_s=max(0.0, min(block_s, tick_s, until - time.monotonic())))
                page = self._page(rows)
                over = not rows and self.over(name, since)
                answered = time.monotonic()
            except (redis.ConnectionError, redis.TimeoutError):
                if time.monotonic() - answered > AWAY_S or time.monotonic() >= until:
                    raise
                time.sleep(0.2)
                yield None
                continue
            block_s = 0.0 if rows else _BLOCK_S
            for end in page:
                since = end.cursor
                yield end
            if over or (not page and time.monotonic() >= until):
                return
            if time.monotonic() >= tick:
                yield None
                tick = time.monotonic() + tick_s

    def over(self, name: str, since: str) -> bool:
        """Return whether no end can follow: all jobs have ended, and the stream has none after the cursor."""
        status = self.status(name)
        return status.ended >= status.jobs and not self._read(name, since)

    def _read(self, name: str, since: str, block_s: float = 0.0) -> list[tuple[bytes, dict[bytes, bytes]]]:
        block_ms = max(1, round(block_s * 1000)) if block_s else None
        try:
            found = cast("Any", self._client.xread({self._keys.group_ends(name): since}, count=_PAGE, block=block_ms))
        except redis.ResponseError as exc:
            if "stream ID" not in str(exc):
                raise
            raise BadRequest(
                f"{since[:40]!a} is no cursor of a group: give one that an earlier answer showed."
            ) from None
        return list(found[0][1]) if found else []

    def _page(self, rows: list[tuple[bytes, dict[bytes, bytes]]]) -> list[End]:
        jobs = [row.get(b"job", b"").decode(errors="replace") for _, row in rows]
        outcomes = self._outcomes.get_all(jobs)
        return [
            End(cursor.decode(), job, row.get(b"state", b"").decode(errors="replace"), outcome)
            for (cursor, row), job, outcome in zip(rows, jobs, outcomes, strict=True)
        ]


def _unknown(name: str) -> UnknownGroup:
    return UnknownGroup(
        f"There is no group {name[:80]!a}: it has no jobs yet, or its Outcomes have expired (GOLEM_KEEP_S)."
    )


def _number(found: dict[bytes, bytes], field: str) -> int:
    try:
        return int(found.get(field.encode(), b"0"))
    except ValueError:  # producers may write it
        return 0
