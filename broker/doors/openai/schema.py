"""The OpenAPI descriptions of the routes: their forms are read from the request, so that FastAPI cannot derive them.

FastAPI drops nulls from the schema, examples too: what can be null is not called required.
"""

from typing import Any

from golem_chain.broker.doors.openai.asked import FORMATS, GRANULARITIES
from golem_chain.broker.doors.openai.models import ACCEPTED
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import CHAIN

_FIELDS: JsonObject = {
    "file": {"type": "string", "format": "binary", "description": "The recording, in any format that FFmpeg reads."},
    "model": {
        "type": "string",
        "default": "whisper-1",
        "examples": ["whisper-1"],
        "description": f"{', '.join(ACCEPTED)}, or the id of the Scribe's checkpoint: all stand for the Scribe.",
    },
    "language": {
        "type": "string",
        "examples": ["en"],
        "description": "ISO 639-1, a tag such as pt-BR, or an English name; left out or auto: detected.",
    },
    "prompt": {"type": "string", "description": "Text that precedes the recording; its last 1,000 characters count."},
    "response_format": {"type": "string", "enum": list(FORMATS), "default": "json"},
    "temperature": {
        "type": "number", "minimum": 0, "maximum": 1, "default": 0, "description": "0: with fallbacks where text fails."
    },
    "timestamp_granularities[]": {
        "type": "array",
        "items": {"type": "string", "enum": list(GRANULARITIES)},
        "description": "Of verbose_json; `word` also of srt and vtt. `timestamp_granularities` is understood too.",
    },
    "stream": {
        "type": "boolean",
        "default": False,
        "description": "Answer by server-sent events. Not for srt and vtt.",
    },
    "vocabulary": {"type": "string", "description": "Phrases of which one is said, as in `--vocabulary`."},
    "hotwords": {"type": "string", "description": "Names that may be said, separated by commas."},
    "labels": {
        "type": "string",
        "examples": ["lights_on,music_stop"],
        "description": "Intents, as in `--labels`, or `@name` of a stored set: the chain goes on to the Interpreter.",
    },
    "stop": {
        "type": "string",
        "enum": list(CHAIN),
        "description": "The last stage; without it the scribe, with labels the interpreter.",
    },
}  # fmt: skip
_GOLEM: JsonObject = {
    "job": "b1f3c2d4e5f60718293a4b5c6d7e8f90",
    "intent": {"label": "lights_on", "score": 0.93, "scores": {"lights_on": 0.93}, "method": "cosine"},
    "reply": {"text": "The lights are on.", "prompt": "Turn on the lights.", "seed": 7, "new_tokens": 6},
    "stages": {},
    "speech_s": 1.1,
    "guards": [],
}
_SEGMENT: JsonObject = {
    "id": 0, "seek": 0, "start": 0.0, "end": 1.3, "text": "Turn on the lights.", "tokens": [], "temperature": 0.0,
    "avg_logprob": -0.2, "compression_ratio": 0.8, "no_speech_prob": 0.01,
}  # fmt: skip
_VERBOSE: JsonObject = {
    "task": "transcribe",
    "language": "english",
    "duration": 1.4,
    "text": "Turn on the lights.",
    "segments": [_SEGMENT],
    "usage": {"type": "duration", "seconds": 2},
    "golem": _GOLEM,
}
_STREAM = (
    'data: {"type":"transcript.text.delta","delta":"Turn on the lights."}\n\n'
    'data: {"type":"transcript.text.done","text":"Turn on the lights."}\n\n'
)
_SRT = "1\n00:00:00,000 --> 00:00:01,300\nTurn on the lights.\n\n"
_ERROR_SCHEMA: JsonObject = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_TEXT_SCHEMA: JsonObject = {
    "type": "object",
    "required": ["text", "golem"],
    "properties": {"text": {"type": "string"}, "golem": {"type": "object", "required": ["job"]}},
}
_MODEL_SCHEMA: JsonObject = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "enum": ["model"]},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
        "stage": {"type": "string", "enum": list(CHAIN)},
    },
}
_MODEL: JsonObject = {"id": "whisper-1", "object": "model", "created": 0, "owned_by": "golem-chain", "stage": "scribe"}


def _error(what: str, message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Describe an answer that is an error, with an example."""
    example = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return {"description": what, "content": {"application/json": {"schema": _ERROR_SCHEMA, "example": example}}}


_BAD, _OURS = "invalid_request_error", "server_error"
_NOT_FOUND = _error(
    "There is no such model.",
    "The model `whisper-large-v3` does not exist: use whisper-1, golem or openai/whisper-tiny.",
    _BAD,
    "model_not_found",
    "model",
)
_AWAY = _error(
    "Try again later: Retry-After says when.",
    "The server cannot reach its queue: try again in a moment.",
    _OURS,
    "broker_away",
)


def form() -> dict[str, Any]:
    """Return the description of the form, for `openapi_extra`."""
    schema = {"type": "object", "required": ["file"], "properties": _FIELDS}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


#: The answers to a form.
HEARD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What was said.",
        "content": {
            "application/json": {
                "schema": _TEXT_SCHEMA,
                "examples": {
                    "json": {"value": {"text": "Turn on the lights.", "golem": _GOLEM}},
                    "verbose_json": {"value": _VERBOSE},
                },
            },
            "text/plain": {"schema": {"type": "string"}, "examples": {"srt": {"value": _SRT}}},
            "text/vtt": {"schema": {"type": "string"}},
            "text/event-stream": {"schema": {"type": "string"}, "example": _STREAM},
        },
    },
    400: _error(
        "A field or the recording is wrong.",
        "Missing required parameter: 'file'.",
        _BAD,
        "missing_required_parameter",
        "file",
    ),
    404: _NOT_FOUND,
    409: _error("The job was cancelled.", "The job was cancelled.", _BAD, "cancelled"),
    413: _error(
        "The recording is too large or too long.",
        "The audio is 300 MiB, above the limit of 256 MiB: shorten it, or raise GOLEM_AUDIO_MAX_BYTES.",
        _BAD,
        "audio_above_limit",
        "file",
    ),
    500: _error(
        "The job failed.",
        "The scribe failed unexpectedly (ValueError): see the worker's log.",
        _OURS,
        "internal_error",
    ),
    503: _AWAY,
    504: _error("The job took too long.", "The scribe exceeded its time limit.", _OURS, "time_limit"),
}
#: The answers about models.
MODELS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The models.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["object", "data"],
                    "properties": {
                        "object": {"type": "string", "enum": ["list"]},
                        "data": {"type": "array", "items": _MODEL_SCHEMA},
                    },
                },
                "example": {"object": "list", "data": [_MODEL]},
            }
        },
    },
    503: _AWAY,
}
MODEL: dict[int | str, dict[str, Any]] = {
    200: {"description": "The model.", "content": {"application/json": {"schema": _MODEL_SCHEMA, "example": _MODEL}}},
    404: _NOT_FOUND,
    503: _AWAY,
}
