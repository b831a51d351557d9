"""Parts that the routes of this API share: parameters, and what the schema says of answers."""

from typing import Annotated, Any, Final

from fastapi import Path

from golem_chain.broker.doors.errors import Error, HttpError
from golem_chain.shared.text import NAME

#: Types of parameters of a path.
JobId = Annotated[str, Path(pattern=f"^{NAME}$", description="The id of a job", examples=["8b1c55d0f2c94a0b9a3d6f1e"])]
GroupName = Annotated[str, Path(pattern=f"^{NAME}$", description="The name of a group", examples=["night"])]


def failing(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """Return what the schema says of answers with an error: `failing(s404="there is no such job")`."""
    return {int(status[1:]): {"model": Error, "description": why} for status, why in reasons.items()}


#: What the schema says of a stream of events.
EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Server-sent events; comments keep the connection alive",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **failing(s400="Last-Event-ID is no id of this stream", s404="There is no such job or group"),
}


def no_event_id() -> HttpError:
    """Return the error for a Last-Event-ID that no event of the stream had."""
    message = "Last-Event-ID is no id of this stream: give one that an event showed, or none."
    return HttpError(400, message, "invalid_value", "after")
