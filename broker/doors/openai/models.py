"""Which models the API names: the checkpoints of the workers, and OpenAI's names for the Scribe. Pure."""

from collections.abc import Mapping

from golem_chain.broker.doors.errors import HttpError
from golem_chain.shared.errors import LanguageRefused
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Task
from golem_chain.shared.text import visible

#: Names that stand for the Scribe, whatever checkpoint it runs, and are listed.
LISTED = ("whisper-1", "golem")
#: OpenAI's other names of transcription models: clients have them built in.
ACCEPTED = (
    *LISTED,
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-03-20",
    "gpt-4o-mini-transcribe-2025-12-15",
)
_OWNER = "golem-chain"


def listed(checkpoints: Mapping[str, str]) -> JsonObject:
    """Return the list of models. `checkpoints`: ids by stage, as `broker.monitoring.checkpoints.read` returns them."""
    names = [(name, "scribe") for name in LISTED]
    return {"object": "list", "data": [_model(id, stage) for id, stage in (*names, *_known(checkpoints))]}


def found(id: str, checkpoints: Mapping[str, str]) -> JsonObject:
    """Return one model. Raises HttpError 404."""
    if id in ACCEPTED:
        return _model(id, "scribe")
    stages = dict(_known(checkpoints))
    if id not in stages:
        raise _not_found(id, (*LISTED, *stages))
    return _model(id, stages[id])


def check(id: str | None, checkpoints: Mapping[str, str]) -> None:
    """Raise HttpError unless the name stands for the Scribe: 404, or 503 if no worker is there to tell what it is."""
    if id is None or id in ACCEPTED:
        return
    scribe = checkpoints.get("scribe")
    if scribe is None:
        raise HttpError(
            503,
            f"No worker tells which Scribe it runs, so {_shown(id)} cannot be checked: start one, or use whisper-1.",
            "no_worker",
            "model",
            {"retry-after": "2"},
        )
    if id != scribe:
        raise _not_found(id, (*LISTED, scribe))


def check_language(name: str, task: Task, language: str | None, checkpoints: Mapping[str, str]) -> None:
    """Raise LanguageRefused, before the audio is queued, if the Scribe's checkpoint is known for English only: by
    Whisper's convention, its name ends with `.en`. A worker checks the rest."""
    scribe = checkpoints.get("scribe", "")
    if scribe.endswith(".en") and (task == "translate" or language not in (None, "en")):
        what = "translation" if task == "translate" else f"the language {language!r}"
        raise LanguageRefused(
            f"{visible(name, 100)}: {scribe} is English-only and does not support {what}: on the workers, set "
            "GOLEM_MODELS=multilingual, or GOLEM_SCRIBE_MODEL to a multilingual model such as openai/whisper-tiny."
        )


def _known(checkpoints: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(id, stage) for stage, id in checkpoints.items() if id not in LISTED]


def _model(id: str, stage: str) -> JsonObject:
    """`created` is unknown: 0."""
    owner = id.partition("/")[0] if "/" in id else _OWNER
    return {"id": id, "object": "model", "created": 0, "owned_by": owner, "stage": stage}


def _not_found(id: str, there: tuple[str, ...]) -> HttpError:
    return HttpError(
        404,
        f"The model {_shown(id)} does not exist: use {', '.join(there[:-1])} or {there[-1]}.",
        "model_not_found",
        "model",
        kind="invalid_request_error",  # as OpenAI's
    )


def _shown(id: str) -> str:
    return f"`{visible(id, 100)}`"
