"""Submits jobs: one or many, of files or of texts."""

import hashlib
import json
import uuid

from fastapi import APIRouter, Request, Response

from golem_chain.broker.doors import errors
from golem_chain.broker.doors.door import Caller, Door, TheCaller, TheDoor
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake import requests
from golem_chain.broker.doors.intake.options import options_of, wrong
from golem_chain.broker.doors.intake.requests import Identity
from golem_chain.broker.doors.jobs import asked
from golem_chain.broker.doors.jobs.asked import Wanted
from golem_chain.broker.doors.jobs.body import BODY
from golem_chain.broker.doors.jobs.schema import failing
from golem_chain.broker.doors.jobs.views import Accepted, Problem, Submission
from golem_chain.shared.errors import BrokerAway, GolemError, VaultFull
from golem_chain.shared.records import JobOptions

router = APIRouter(tags=["jobs"])
#: Longest Idempotency-Key, characters.
KEY_MOST = 200


@router.post(
    "/v1/jobs",
    status_code=202,
    response_model=Submission,
    openapi_extra=BODY,
    responses=failing(
        s400="A field is invalid, or no job was accepted",
        s413="A file or the body is above its limit",
        s429="Too many jobs wait",
        s503="The queue cannot be reached, or has no space for audio",
    ),
)
async def submit_jobs(request: Request, response: Response, door: TheDoor, caller: TheCaller) -> Submission:
    """Submit jobs: a form with files (`file`, up to 100) or texts (`text`), or JSON with `text` or `texts` (up to
    1,000). The options hold for all of them.

    A job begins at the Scribe with a file, at the Interpreter with a text, at the Oracle with a text and its `intent`,
    and ends after `stop`. Several jobs get a group if none is named. The answer is 202 if any job was accepted, else
    the error of the first. With the header `Idempotency-Key` the same request can be sent again: its jobs run once.
    """
    key = _key_of(request)
    wanted = await asked.read(request, door, caller)
    many = len(wanted.jobs) > 1
    given = {"lane": "bulk" if many else "interactive", **wanted.options}
    options = await options_of(**given, oracle=wanted.reply, stored=door.jobs_of(caller).label_set)
    if many and options.group is None:
        options = options.model_copy(update={"group": _group_of(caller, key)})
    jobs, first = await _submit_all(door, caller, wanted, options, key)
    if first is not None and all(one.error for one in jobs):
        raise first
    if not many:
        response.headers["location"] = f"/v1/jobs/{jobs[0].id}"
    return Submission(jobs=jobs, group=options.group)


async def _submit_all(
    door: Door, caller: Caller, wanted: Wanted, options: JobOptions, key: str | None
) -> tuple[list[Accepted], Exception | None]:
    """Submit the jobs in their order; return what became of each, and the first error."""
    found, first, over = list[Accepted](), None, None
    many = len(wanted.jobs) > 1
    for n, one in enumerate(wanted.jobs):
        name = wanted.names[n] if wanted.names else _name_of(one, n if many else None)
        identity: Identity = "fresh" if key is None else ("key", f"{key}/{n}" if many else key)
        try:
            if over:
                raise over
            id = await requests.submit(door, caller, one, options, intent=wanted.intent, name=name, identity=identity)
            found.append(Accepted(id=id, name=name, error=None))
        except (GolemError, HttpError) as exc:
            first = first or exc
            if isinstance(exc, BrokerAway | VaultFull) or getattr(exc, "status", 0) == 429:
                over = exc  # the others would fail in the same way, each after a wait
            told = errors.of(exc).body["error"]
            found.append(Accepted(id=None, name=name, error=Problem(code=str(told["code"]), message=told["message"])))
    return found, first


def _name_of(one: object, place: int | None) -> str:
    if isinstance(one, str):
        return "text" if place is None else f"text {place + 1}"
    return str(getattr(one, "name", "audio"))[: asked.NAME_MOST]


def _key_of(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= KEY_MOST and key.isprintable()):
        raise wrong("Idempotency-Key", f"The header Idempotency-Key must be a text of 1 to {KEY_MOST} characters.")
    return key


def _group_of(caller: Caller, key: str | None) -> str:
    """Return the name of a new group; the same one for the same Idempotency-Key."""
    made = uuid.uuid4().hex if key is None else hashlib.sha256(json.dumps([caller.owner, key]).encode()).hexdigest()
    return f"batch-{made[:16]}"
