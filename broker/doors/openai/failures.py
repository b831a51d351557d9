"""Jobs that did not end well, as errors of the API: the status of the reason, and the field that is to blame. Pure."""

from collections.abc import Iterator
from contextlib import contextmanager

from golem_chain.broker.doors import errors
from golem_chain.broker.doors.errors import HttpError
from golem_chain.shared.errors import Cancelled, Expired, GolemError
from golem_chain.shared.records import Outcome

#: The field of the form that an error is about, by its code.
_PARAMS = {
    "bad-audio": "file",
    "audio-above-limit": "file",
    "audio-missing": "file",
    "bad-labels": "labels",
    "bad-vocabulary": "vocabulary",
    "language-refused": "language",
}
#: States without a reason of their own.
_STATES = {"cancelled": Cancelled("The job was cancelled."), "expired": Expired("The job's deadline passed.")}


def failed(outcome: Outcome, headers: dict[str, str]) -> HttpError:
    """Return the error of a job that is not done. OpenAI's clients repeat requests after 409 and 5xx: they are told not
    to where the same job would fail again."""
    error = error_of(outcome)
    kind = type(error)
    if kind is GolemError:  # a mistake of the program: the worker's log tells more
        return HttpError(500, error.message, "internal_error", headers=headers | {"x-should-retry": "false"})
    told = errors.of(error)
    said = told.body["error"]
    message = f"Invalid file format. {error.message}" if error.code == "bad-audio" else said["message"]
    again = {} if kind.retryable or told.status < 409 else {"x-should-retry": "false"}
    return HttpError(told.status, message, said["code"], _PARAMS.get(error.code), {**headers, **told.headers, **again})


@contextmanager
def naming_fields() -> Iterator[None]:
    """Let an error that a field is to blame for name the field."""
    try:
        yield
    except GolemError as exc:
        if (param := _PARAMS.get(exc.code)) is None:
            raise
        told = errors.of(exc)
        said = told.body["error"]
        raise HttpError(told.status, said["message"], said["code"], param, told.headers) from None


def error_of(outcome: Outcome) -> GolemError:
    """Return the reason why a job is not done, of the class that it had; of the root class if that is not known."""
    if outcome.error is None:
        return _STATES.get(outcome.state, GolemError("The job failed without a reason."))
    return _BY_CODE.get(outcome.error.code, GolemError)(outcome.error.message)


def _classes(kind: type[GolemError]) -> dict[str, type[GolemError]]:
    found = {kind.code: kind}
    for one in kind.__subclasses__():
        found |= _classes(one)
    return found


_BY_CODE = _classes(GolemError)
