"""The route of Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from golem_chain.broker.doors.door import TheCaller
from golem_chain.broker.doors.system.room import TheRoom, check_operator

router = APIRouter(tags=["system"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(room: TheRoom, caller: TheCaller) -> Response:
    """Return the metrics of the system and of this door, for Prometheus. Where keys are set, it needs an operator's."""
    check_operator(caller)
    return Response(await room.metrics.scrape(), media_type=CONTENT_TYPE_LATEST)
