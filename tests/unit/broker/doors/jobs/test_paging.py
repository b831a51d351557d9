"""Pages of jobs, without Redis: filters, cursors, and that a request looks at a bounded number of jobs."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.jobs.paging import LOOKED_MOST, Filter, Page, cursor_of, page_of, place_of
from golem_chain.broker.jobs.summaries import Place, Summary


def job(n, **given):
    fields: dict[str, Any] = {
        "name": f"clip-{n}.wav",
        "state": "waiting",
        "stage": "scribe",
        "lane": "bulk",
        "group": None,
    }
    fields |= {"ended_at": None, "error": None, "intent": None, "text": None} | given
    return Summary(job=f"job-{n:05}", submitted_at=float(n), **fields)


ANY = Filter()


class List:
    """The list of a submitter, which counts how many of its jobs were looked at."""

    def __init__(self, jobs):
        self.jobs, self.looked = {one.job: one for one in jobs}, 0

    async def older(self, before, most):
        places = sorted((Place(one.submitted_at, one.job) for one in self.jobs.values() if one), reverse=True)
        return [place for place in places if before is None or place < before][:most]

    async def summaries(self, ids):
        self.looked += len(ids)
        return [self.jobs[id] for id in ids]


def page(listed, wanted=ANY, after=None, limit=50):
    return asyncio.run(page_of(listed.older, listed.summaries, wanted, after, limit))


def names(found: Page):
    return [one.job for one in found.jobs]


@given(st.integers(0, 260), st.integers(1, 100), st.booleans())
def test_pages_show_each_job_once_newest_first(count, limit, filtered):
    listed = List(job(n, state="done" if n % 3 == 0 else "waiting") for n in range(count))
    wanted, seen, after = Filter(state="done") if filtered else Filter(), [], None
    while True:
        found = page(listed, wanted, after, limit)
        seen += names(found)
        if found.last is None:
            break
        after = place_of(cursor_of(found.last))
    assert seen == [f"job-{n:05}" for n in reversed(range(count)) if not filtered or n % 3 == 0]


def test_a_request_looks_at_a_bounded_number_of_jobs_and_the_next_one_goes_on_there():
    listed = List(job(n, group="night" if n == 0 else None) for n in range(LOOKED_MOST + 500))
    first = page(listed, Filter(group="night"))
    assert first.jobs == []
    assert first.last
    assert listed.looked == LOOKED_MOST
    assert names(page(listed, Filter(group="night"), first.last)) == ["job-00000"]


def test_an_unfiltered_page_looks_at_no_more_jobs_than_it_shows():
    listed = List(job(n) for n in range(100))
    assert len(page(listed, limit=10).jobs) == listed.looked == 10


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Filter(state="done"), {"a"}),
        (Filter(stage="scribe"), {"b"}),
        (Filter(group="night"), {"a"}),
        (Filter(q="STRASSE"), {"b"}),
        (Filter(q="a", state="failed"), set()),
    ],
)
def test_filters_are_combined(wanted, shown):
    jobs = {
        "a": job(1, name="a.wav", state="done", stage=None, group="night"),
        "b": job(2, name="Straße.wav", group="day"),
    }
    assert {name for name, one in jobs.items() if wanted.passes(one)} == shown


@pytest.mark.parametrize("cursor", ["x", "1_", "_a", "1.5_a b", "-1_a", "nan_a", "1e9_a", "9" * 400 + "_a", "1_a\n"])
def test_a_cursor_that_no_page_showed_is_refused_in_one_sentence(cursor):
    with pytest.raises(HttpError, match="no cursor of this list"):
        place_of(cursor)


@given(st.floats(1e9, 9e9))
def test_a_cursor_is_exact_to_the_microsecond(at):
    place = Place(round(at, 6), "job")
    assert place_of(cursor_of(place)) == place
