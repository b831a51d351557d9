"""How errors look to clients: a status, and one sentence in the shape of OpenAI's API, for all doors of HTTP."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from golem_chain.shared import errors
from golem_chain.shared.errors import GolemError


class ErrorInside(BaseModel):
    """What is wrong."""

    message: str = Field(description="One sentence", examples=["There is no job 'x'."])
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(description="The field that it is about")
    code: str | None = Field(description="For programs; it does not change", examples=["unknown_job"])


class Error(BaseModel):
    """An answer other than 2xx, in the shape of OpenAI's API."""

    error: ErrorInside


class HttpError(Exception):
    """An answer other than 2xx. `param` is the field that it is about, `kind` its type if it is not the status's."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.headers = status, message, code, param, headers or {}
        self.kind = kind


class Shape(NamedTuple):
    """What a client is told."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


#: The status of each class; of several that fit, the first counts. Anything else that is wrong with a request is 400.
_STATUS: tuple[tuple[type[GolemError], int], ...] = (
    (errors.UnknownJob, 404),
    (errors.UnknownGroup, 404),
    (errors.AudioAboveLimit, 413),
    (errors.TimeLimit, 504),
    (errors.Expired, 504),
    (errors.Cancelled, 409),
    (errors.GroupCancelled, 409),
    (errors.TooManyDeliveries, 500),
    (errors.ModelMissing, 500),
    (errors.ModelCorrupt, 500),
    (errors.CheckpointsDiffer, 500),
    (errors.ModelAboveBudget, 500),
    (errors.DeviceRefused, 500),
    (errors.VaultFull, 503),
    (errors.BrokerAway, 503),
    (errors.RetryableError, 503),
)
#: Classes whose message is for the operator's log: it names servers.
_PRIVATE: tuple[type[GolemError], ...] = (errors.BrokerAway, errors.WireDiffers)
#: A wrong key is an `invalid_request_error`, as at OpenAI: programs look at the code.
_TYPES = {403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
#: When a client may try again, seconds.
RETRY_AFTER_S = 2


def shape(status: int, message: str, code: str | None, param: str | None = None, **headers: str) -> Shape:
    """Return an error in the shape of OpenAI's API."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return Shape(status, {"error": {"message": message, "type": kind, "param": param, "code": code}}, headers)


def encoded(told: Shape) -> bytes:
    """Return the body as JSON."""
    return json.dumps(told.body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def of(exc: Exception) -> Shape:
    """Return what a client is told of an error. One that is not ours is an internal one: no detail of it is told."""
    if isinstance(exc, HttpError):
        told = shape(exc.status, exc.message, exc.code, exc.param)._replace(headers=exc.headers)
        if exc.kind:
            told.body["error"]["type"] = exc.kind
        return told
    if isinstance(exc, _PRIVATE):
        told = shape(503, "The server cannot reach its queue: try again in a moment.", "broker_away")
        return told._replace(headers={"retry-after": str(RETRY_AFTER_S)})
    if isinstance(exc, GolemError):
        status = next((status for kind, status in _STATUS if isinstance(exc, kind)), 400)
        told = shape(status, exc.message, exc.code.replace("-", "_"))
        return told._replace(headers={"retry-after": str(RETRY_AFTER_S)}) if status == 503 else told
    return shape(500, "Internal error: the server's log tells more.", "internal_error")
