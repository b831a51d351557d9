"""The list of a caller's jobs."""

from typing import Annotated

from fastapi import APIRouter, Query

from golem_chain.broker.doors.door import TheCaller, TheDoor
from golem_chain.broker.doors.jobs import views
from golem_chain.broker.doors.jobs.paging import CURSOR, PAGE, PAGE_MOST, Filter, cursor_of, page_of, place_of
from golem_chain.broker.doors.jobs.schema import failing
from golem_chain.broker.doors.jobs.views import JobPage, JobState
from golem_chain.shared.records import StageName
from golem_chain.shared.text import NAME

router = APIRouter(tags=["jobs"])


@router.get("/v1/jobs", response_model=JobPage, responses=failing(s400="A parameter is invalid"))
async def list_jobs(
    door: TheDoor,
    caller: TheCaller,
    state: JobState | None = None,
    stage: StageName | None = None,
    q: Annotated[str | None, Query(max_length=200, description="A part of the name, whatever its case")] = None,
    group: Annotated[str | None, Query(pattern=f"^{NAME}$")] = None,
    after: Annotated[str | None, Query(pattern=f"^{CURSOR}$", description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MOST)] = PAGE,
) -> JobPage:
    """List your jobs, newest first, without those that are no longer kept (GOLEM_KEEP_S). Filters are combined. Pages
    stay as they are while new jobs arrive."""
    jobs = door.jobs_of(caller)
    wanted = Filter(state, stage, q or None, group)
    page = await page_of(jobs.older, jobs.summaries, wanted, place_of(after), limit)
    return JobPage(jobs=[views.of_summary(one) for one in page.jobs], next=cursor_of(page.last))
