"""The routes of this door."""

from fastapi import APIRouter

from golem_chain.broker.doors.jobs import following, groups, labels, listing, one, submitting

router = APIRouter()
for part in (submitting, listing, following, one, groups, labels):  # /v1/jobs/events comes before /v1/jobs/{id}
    router.include_router(part.router)
