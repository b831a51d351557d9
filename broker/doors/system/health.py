"""The routes that say whether the door lives and the system serves, for supervisors and the page. They need no key."""

from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from golem_chain.broker.doors.door import TheDoor
from golem_chain.broker.doors.system.readiness import Local, readiness
from golem_chain.broker.doors.system.room import TheRoom
from golem_chain.shared.errors import BrokerAway

router = APIRouter(tags=["system"])


class HealthView(BaseModel):
    """The process lives."""

    status: Literal["ok"]


class ReadyView(BaseModel):
    """Whether jobs are served."""

    ready: bool = Field(description="Redis can be reached, and a worker runs")
    redis: Literal["reachable", "away"]
    workers: int = Field(description="Number of live workers")
    models: Literal["resident", "on_demand", "pulling", "none"] = Field(
        description="`resident`: a worker has one loaded; `on_demand`: loaded when a job needs one; `pulling`: "
        "downloaded for the first start; `none`: there is no worker"
    )
    sentence: str | None = Field(description="What is missing and what to do; null if nothing is")


@router.get("/health", response_model=HealthView)
async def health() -> JSONResponse:
    """Say that the process lives, whatever the system does."""
    return JSONResponse({"status": "ok"})


@router.get("/ready", response_model=ReadyView, responses={503: {"model": ReadyView}})
async def ready(room: TheRoom, door: TheDoor) -> JSONResponse:
    """Say whether jobs are served: 200 if they are, 503 and what is missing if not."""
    try:
        seen = await room.reader.overview()
    except BrokerAway:
        seen = None
    found = readiness(seen, Local(door.local.phase, door.local.sentence) if door.local else None)
    return JSONResponse(found._asdict(), 200 if found.ready else 503)
