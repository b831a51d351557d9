"""The caller's stored label sets, and the check of labels before they are used."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from golem_chain.broker.doors.door import Caller, Door, TheCaller, TheDoor
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.bodies import body_of, is_json, read_json
from golem_chain.broker.doors.intake.options import about, options_of, wrong
from golem_chain.broker.doors.jobs.asked import label_set_of
from golem_chain.broker.doors.jobs.schema import failing
from golem_chain.broker.jobs.label_sets import SET_MOST_BYTES
from golem_chain.shared.labels import built_in
from golem_chain.shared.records import LabelSet
from golem_chain.shared.text import NAME

router = APIRouter(tags=["labels"])
NameOfSet = Annotated[str, Path(pattern=f"^{NAME}$", description="The name of a label set", examples=["kitchen"])]
#: Read once: they are a file of this package.
BUILT_IN = built_in()
_INVALID = failing(s400="The labels are invalid", s413="They are too large")
#: What the schema says of a body with labels.
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "text/plain": {
                "schema": {"type": "string", "minLength": 1},
                "example": 'lights_on="turning on the lights",lights_off',
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/LabelSet"}},
        },
    }
}


class SetName(BaseModel):
    """A label set that `labels=@name` names."""

    name: str = Field(examples=["kitchen"])
    built_in: bool = Field(description="Whether it is always there; else you have stored it")


class SetNames(BaseModel):
    """The label sets that there are."""

    labels: list[SetName] = Field(description="Your own first")


@router.get("/v1/labels", response_model=SetNames)
async def list_labels(door: TheDoor, caller: TheCaller) -> SetNames:
    """List the names of the label sets that there are. A set of your own goes before a built-in one of its name."""
    own = [SetName(name=name, built_in=False) for name in await door.jobs_of(caller).label_sets()]
    return SetNames(labels=own + [SetName(name=name, built_in=True) for name in BUILT_IN])


@router.post("/v1/labels/check", response_model=LabelSet, responses=_INVALID, openapi_extra=_BODY)
async def check_labels(request: Request, door: TheDoor, caller: TheCaller) -> LabelSet:
    """Check labels and return them as a label set. Stores nothing."""
    return await _read(request, door, caller)


@router.get("/v1/labels/{name}", response_model=LabelSet, responses=failing(s404="There is no such label set"))
async def get_labels(name: NameOfSet, door: TheDoor, caller: TheCaller) -> LabelSet:
    """Show a label set."""
    if found := await door.jobs_of(caller).label_set(name):
        return found
    raise _unknown(name)


@router.put("/v1/labels/{name}", response_model=LabelSet, responses=_INVALID, openapi_extra=_BODY)
async def put_labels(name: NameOfSet, request: Request, door: TheDoor, caller: TheCaller) -> LabelSet:
    """Store a label set: a text as in `--labels`, or a LabelSet as JSON. One of the same name is replaced. Your sets
    are kept for 30 days after one of them was last used."""
    found = await _read(request, door, caller)
    with about("labels"):
        await door.jobs_of(caller).put_label_set(name, found)
    return found


@router.delete("/v1/labels/{name}", status_code=204, responses=failing(s404="There is no such label set"))
async def delete_labels(name: NameOfSet, door: TheDoor, caller: TheCaller) -> Response:
    """Delete a stored label set. Jobs that were submitted with it keep their labels."""
    if not await door.jobs_of(caller).drop_label_set(name):
        raise _unknown(name)
    return Response(status_code=204)


async def _read(request: Request, door: Door, caller: Caller) -> LabelSet:
    """Return the checked label set of a body. Raises HttpError."""
    if is_json(request):
        given: LabelSet | str = label_set_of(await read_json(request, 2 * SET_MOST_BYTES))
    else:
        try:
            given = (await body_of(request, 2 * SET_MOST_BYTES)).decode("utf-8").strip("\r\n")
        except UnicodeDecodeError:
            raise wrong("labels", "The labels are not valid UTF-8: send them in UTF-8.") from None
    found = (await options_of(labels=given, stored=door.jobs_of(caller).label_set)).labels
    if found is None:
        raise wrong("labels", "There are no labels: send at least one, such as lights_on,lights_off.")
    return found


def _unknown(name: str) -> HttpError:
    return HttpError(404, f"There is no stored label set {name}: store it with PUT.", "unknown_label_set", "name")
