"""What the schema says of the body of POST /v1/jobs: a form or JSON with the same fields."""

from typing import Any, Final

from golem_chain.broker.doors.jobs.asked import FILES_MOST, OPTIONS, REPLY, TEXTS_MOST
from golem_chain.shared.records import TEXT_MOST


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _number(description: str, kind: str = "number", **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": description, **more}


#: Of each option.
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "labels": _text(
        "Labels as in --labels, or `@name` of a stored set", example='lights_on="turning on the lights",off'
    ),
    "vocabulary": _text("The phrases that may be said, or `from-labels`", example="yes,no"),
    "fillers": _text("Other expected phrases, which mean `unknown`"),
    "language": _text("ISO 639-1; detected if it is not given", example="en"),
    "task": _text("`translate`: into English", enum=["transcribe", "translate"]),
    "word_times": {"type": "boolean", "description": "Whether segments list their words with times"},
    "stop": _text("The last stage that runs", enum=["scribe", "interpreter", "oracle"]),
    "lane": _text("`interactive` for one job, `bulk` for several, unless it is given", enum=["interactive", "bulk"]),
    "hotwords": _text("Names that may be said", example="Ecobee,Kitchener"),
    "prompt": _text("Text that the transcript continues"),
    "temperature": _number("Of the transcript", minimum=0, maximum=1),
    "group": _text("Jobs that are counted together", pattern="^[A-Za-z0-9_.-]{1,64}$", example="night"),
    "expires_s": _number("The job expires if it has not ended after so many seconds", exclusiveMinimum=0),
    "webhook": _text("A URL that is told of the end"),
    "max_new_tokens": _number("Longest reply", "integer", minimum=1, maximum=1024),
    "reply_temperature": _number("Of the reply; 0 is greedy", minimum=0, maximum=5),
    "top_k": _number("Of the reply", "integer", minimum=0),
    "top_p": _number("Of the reply", exclusiveMinimum=0, maximum=1),
    "no_repeat_ngram_size": _number("Of the reply", "integer", minimum=0),
    "seed": _number("Of the reply", "integer", minimum=0),
}
assert set(_OPTIONS) == {*OPTIONS, *REPLY}

_INTENT = _text("Of a text: the job begins at the Oracle", example="lights_on")
_SAID: Final = {"type": "string", "minLength": 1, "maxLength": TEXT_MOST, "pattern": "\\S"}
_FORM: Final = {
    "type": "object",
    "oneOf": [{"required": ["file"]}, {"required": ["text"]}],
    "additionalProperties": False,
    "properties": {
        "file": {
            "type": "array",
            "minItems": 1,
            "maxItems": FILES_MOST,
            "items": {"type": "string", "format": "binary"},
            "description": "Audio or video; once for each job",
        },
        "text": {
            "type": "array",
            "minItems": 1,
            "maxItems": TEXTS_MOST,
            "items": _SAID,
            "description": "What was said, instead of files; once for each job",
        },
        "name": {"type": "array", "items": {"type": "string"}, "description": "One for each job, or none"},
        "intent": _INTENT,
        **_OPTIONS,
    },
}
_JSON: Final = {
    "type": "object",
    "oneOf": [{"required": ["text"]}, {"required": ["texts"]}],
    "additionalProperties": False,
    "properties": {
        "text": _SAID | {"description": "What was said", "example": "Turn on the lights."},
        "texts": {"type": "array", "minItems": 1, "maxItems": TEXTS_MOST, "items": _SAID},
        "name": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "intent": _INTENT,
        **_OPTIONS,
        "labels": {"oneOf": [_OPTIONS["labels"], {"$ref": "#/components/schemas/LabelSet"}]},
        "hotwords": {"oneOf": [_OPTIONS["hotwords"], {"type": "array", "items": {"type": "string"}}]},
    },
}
#: For `openapi_extra`.
BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/json": {
                "schema": _JSON,
                "examples": {
                    "one text": {"value": {"text": "Turn on the lights.", "labels": "lights_on,lights_off"}},
                    "many": {"value": {"texts": ["Turn on the lights.", "Stop."], "group": "night"}},
                },
            },
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "maxLength": 200},
            "description": "The same request with the same key can be sent again: its jobs run once",
        }
    ],
}
