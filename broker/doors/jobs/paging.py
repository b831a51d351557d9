"""Pages of the list of jobs: filters, and cursors that stay where they are while new jobs arrive."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.jobs.summaries import Place, Summary

#: Jobs on a page unless a request says otherwise, and at most.
PAGE, PAGE_MOST = 50, 100
#: Jobs that one request looks at for its filters, and how many of them at once.
LOOKED_MOST, LOOKED_AT_ONCE = 1000, 100
#: A place as clients give it back.
CURSOR: Final = r"([0-9]{1,12}(?:\.[0-9]{1,9})?)_([A-Za-z0-9_.-]{1,64})"

Older: TypeAlias = Callable[[Place | None, int], Awaitable[list[Place]]]
Summarise: TypeAlias = Callable[[Sequence[str]], Awaitable[list[Summary | None]]]


class Filter(NamedTuple):
    """Which jobs a page shows; None: any."""

    state: str | None = None
    stage: str | None = None
    q: str | None = None  # a part of the name, whatever its case
    group: str | None = None

    def passes(self, one: Summary) -> bool:
        """Return whether a job is shown. Pure."""
        return (
            self.state in (None, one.state)
            and self.stage in (None, one.stage)
            and self.group in (None, one.group)
            and (self.q is None or self.q.casefold() in one.name.casefold())
        )


class Page(NamedTuple):
    """A page, and the place after which the next one begins; None: there is no next one."""

    jobs: list[Summary]
    last: Place | None


async def page_of(older: Older, summaries: Summarise, wanted: Filter, after: Place | None, limit: int) -> Page:
    """Return the next `limit` jobs that pass the filter. Looks at LOOKED_MOST jobs at most, so that a page can be short
    although others follow."""
    found, looked, place = list[Summary](), 0, after
    at_once = limit if wanted == Filter() else LOOKED_AT_ONCE
    while looked < LOOKED_MOST:
        places = await older(place, at_once)
        for place, one in zip(places, await summaries([place.job for place in places]), strict=True):
            if one and wanted.passes(one):
                found.append(one)
            if len(found) == limit:
                return Page(found, place)
        looked += len(places)
        if len(places) < at_once:
            return Page(found, None)
    return Page(found, place)


def cursor_of(place: Place | None) -> str | None:
    """Return a place as clients give it back."""
    return f"{place.submitted_at:.6f}_{place.job}" if place else None


def place_of(cursor: str | None) -> Place | None:
    """Return the place of a cursor, None if none is given. Raises HttpError."""
    if not cursor:
        return None
    if not (given := re.fullmatch(CURSOR, cursor)):
        raise HttpError(400, "after is no cursor of this list: give one that `next` showed.", "invalid_value", "after")
    return Place(float(given[1]), given[2])
