"""Streams of events: of one job until it has ended, and of all jobs of a caller."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response

from golem_chain.broker.asynchronous.owned import OwnedPipeline
from golem_chain.broker.doors.door import TheCaller, TheDoor
from golem_chain.broker.doors.intake.sse import Event, EventStream, last_event_id
from golem_chain.broker.doors.jobs import views
from golem_chain.broker.doors.jobs.feed import Feed, Listener
from golem_chain.broker.doors.jobs.schema import EVENTS, JobId, no_event_id
from golem_chain.broker.jobs.summaries import Summary

router = APIRouter(tags=["jobs"])
#: Jobs that ended shortly before the last event that a client has seen may not have been among its events, seconds.
OVERLAP_S = 5.0
#: How long the answer waits for the first look at a job, so that an unknown one is a 404, seconds.
HOLD_S = 5.0


class Feeds:
    """The feeds of all submitters that somebody listens to, in one event loop."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}

    @asynccontextmanager
    async def joined(self, owner: str, jobs: OwnedPipeline, job: str | None = None) -> AsyncIterator[Listener]:
        """See `Feed.joined`."""
        feed = self._feeds.setdefault(owner, Feed(jobs))
        try:
            async with feed.joined(job) as listener:
                yield listener
        finally:
            if feed.idle and self._feeds.get(owner) is feed:
                del self._feeds[owner]


async def feeds_of(request: Request) -> Feeds:
    """Return the feeds of a server."""
    state = request.app.state
    if not hasattr(state, "feeds"):
        state.feeds = Feeds()
    return cast("Feeds", state.feeds)


TheFeeds = Annotated[Feeds, Depends(feeds_of)]


@router.get("/v1/jobs/events", response_class=Response, responses=EVENTS)
async def follow_all(request: Request, door: TheDoor, caller: TheCaller, feeds: TheFeeds) -> EventStream:
    """Follow all of your jobs: first each that has not ended, then each change.

    Each event `job` has a JobView, the newest state: states in between can be left out. Follows the newest 1,000 jobs;
    a group follows any number. With the header `Last-Event-ID` (or `?after=`) of an earlier event, the jobs that ended
    since come too.
    """
    jobs = door.jobs_of(caller)
    since = _time_of(last_event_id(request)) or await jobs.clock()
    return EventStream(door, _all_of(feeds, caller.owner, jobs, since))


async def _all_of(feeds: Feeds, owner: str, jobs: OwnedPipeline, since: float) -> AsyncGenerator[Event, None]:
    shown, cursor = set[str](), since
    async with feeds.joined(owner, jobs) as listener:
        while True:
            for id, one in await listener.next():
                if one is None or not _passes(one, shown, since):
                    continue
                cursor = max(cursor, one.submitted_at, one.ended_at or 0.0)
                (shown.discard if one.state in views.ENDED else shown.add)(id)
                yield _event(one, f"{cursor:.6f}")


def _passes(one: Summary, shown: set[str], since: float) -> bool:
    """Return whether a listener to all is given a job: it has not ended, or has since it was shown, or since then."""
    return one.state not in views.ENDED or one.job in shown or (one.ended_at or 0.0) > since - OVERLAP_S


@router.get("/v1/jobs/{id}/events", response_class=Response, responses=EVENTS)
async def follow_one(id: JobId, request: Request, door: TheDoor, caller: TheCaller, feeds: TheFeeds) -> EventStream:
    """Follow a job until it has ended: first how it is, then each change; the answer ends with the job.

    Each event `job` has a JobView. With the header `Last-Event-ID` (or `?after=`) of an earlier event, the state that
    it told is not told again.
    """
    events = _one_of(feeds, caller.owner, door.jobs_of(caller), id, last_event_id(request))
    return EventStream(door, events, hold_s=HOLD_S)


async def _one_of(
    feeds: Feeds, owner: str, jobs: OwnedPipeline, job: str, last: str | None
) -> AsyncGenerator[Event, None]:
    async with feeds.joined(owner, jobs, job) as listener:
        known = False
        while True:
            for _, one in await listener.next():
                if one is None and known:  # it is no longer kept
                    return
                if one is None:
                    raise jobs.unknown(job)
                known = True
                if (told := _state_of(one)) != last:
                    yield _event(one, told)
                last = told
                if one.state in views.ENDED:
                    return


def _state_of(one: Summary) -> str:
    """Return how a job is, as the id of an event."""
    heard = f"{one.heard[0]:.1f}" if one.heard else None
    return "-".join(filter(None, (one.stage, one.state, heard)))


def _event(one: Summary, id: str) -> Event:
    return Event(views.of_summary(one).model_dump(mode="json"), "job", id)


def _time_of(cursor: str | None) -> float | None:
    """Return the time of an event's id, Unix seconds. Raises HttpError."""
    if cursor is None:
        return None
    if not re.fullmatch(r"\d{1,12}(\.\d{1,9})?", cursor):
        raise no_event_id()
    return float(cursor)
