"""What clients were told during a storm, and what must hold of it: a pure check of a list of Events."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from golem_chain.shared.records import Outcome

#: Told instead of an answer: Redis refused or was away; Redis does not know the job.
AWAY, UNKNOWN = "away", "unknown"


@dataclass(frozen=True)
class Event:
    """One answer to one client. Times in seconds, by one clock; an announcement begins when it ends.

    `asked`: a waiter begins to wait for the job; `waited`: it was given the Outcome. `told` is None for a submit or a
    promotion that returned, for the cancellation of a whole group, and for a read of an unfinished job.
    """

    client: str
    what: Literal["submit", "cancel", "promote", "read", "asked", "waited", "announced"]
    job: str
    told: Outcome | str | None
    began_s: float
    ended_s: float


def violations(events: Iterable[Event]) -> list[str]:
    """Return what contradicts the promises to clients, one sentence each.

    A submit that returned: the job ends, and is known from then on. An Outcome that anybody was told, or whose writing
    was announced, is the only one of the job, and is there for everybody who asks later. No end is announced twice.
    Only a job that somebody cancelled is cancelled. A waiter is given each of its jobs once.
    """
    by_job: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda one: one.ended_s):
        by_job[event.job].append(event)
    return [f"{job}: {found}" for job, told in by_job.items() for found in (*_of_job(told), *_of_waiters(told))]


def _of_job(told: list[Event]) -> Iterator[str]:
    """Yield what is wrong with one job; `told` is in the order of the ends."""
    ends = [one for one in told if isinstance(one.told, Outcome)]
    announced = [one for one in told if one.what == "announced"]
    taken = [one for one in told if one.what == "submit" and one.told is None]
    if not ends and taken:
        yield f"did not end, though {taken[0].client}'s submit returned"
    if not ends and announced:
        yield "has no Outcome, though its end was announced"
    for other in (one for one in ends if one.told != ends[0].told):
        yield f"{_told(ends[0])}, then {_told(other)}"
    if len(announced) > 1:
        yield f"its end was announced {len(announced)} times"
    if ends and all(one.what != "cancel" for one in told) and any(_state(one) == "cancelled" for one in ends):
        yield "is cancelled, though nobody asked for it"
    over_s = min((one.ended_s for one in (*ends, *announced)), default=float("inf"))
    for event in told:
        if event.what == "read" and event.told is None and event.began_s > over_s:
            yield f"{event.client} read at {event.began_s:.2f} s that it is unfinished, after its end at {over_s:.2f} s"
    known_s = min((one.ended_s for one in (*taken, *ends)), default=float("inf"))
    for event in told:
        if event.told == UNKNOWN and event.began_s > known_s:
            yield f"{event.client} was told at {event.began_s:.2f} s that there is no such job"


def _of_waiters(told: list[Event]) -> Iterator[str]:
    """Yield what waiters of one job were told wrongly."""
    asked = Counter(one.client for one in told if one.what == "asked")
    given = Counter(one.client for one in told if one.what == "waited")
    for client in sorted(asked | given):
        if asked[client] != given[client]:
            yield f"{client} waited for it {asked[client]} times and was given it {given[client]} times"


def _state(event: Event) -> str:
    return event.told.state if isinstance(event.told, Outcome) else ""


def _told(event: Event) -> str:
    assert isinstance(event.told, Outcome)
    return f"{event.client} was told at {event.ended_s:.2f} s ({event.what}) {event.told.model_dump_json()}"
