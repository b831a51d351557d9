"""What a client may know of itself."""

from importlib.metadata import version

from fastapi import APIRouter
from pydantic import BaseModel

from golem_chain.broker.doors.door import TheCaller, TheDoor

router = APIRouter(tags=["session"])


class LimitsView(BaseModel):
    """What the caller may use; null: no limit."""

    requests_per_min: int | None
    upload_bytes: int
    queued: int | None


class SessionView(BaseModel):
    """Who asks, and of what."""

    caller: str
    operator: bool
    keys: bool
    version: str
    limits: LimitsView


@router.get("/v1/session")
async def session(door: TheDoor, caller: TheCaller) -> SessionView:
    """Return whose key this is and what it may: 401 for a wrong one."""
    size_bytes = min(caller.limits.upload_bytes or door.settings.audio_max_bytes, door.settings.audio_max_bytes)
    return SessionView(
        caller=caller.name,
        operator=caller.operator,
        keys=bool(door.settings.api_keys),
        version=version("golem-chain"),
        limits=LimitsView(
            requests_per_min=caller.limits.requests_per_min, upload_bytes=size_bytes, queued=caller.limits.queued
        ),
    )
