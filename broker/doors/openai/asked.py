"""What a request of OpenAI's audio API asks for, read from the fields of its form. Pure.

OpenAI's server is strict, its clients are not: an empty field counts as one that is missing, arrays are read under both
of their spellings (`timestamp_granularities` and `timestamp_granularities[]`), and unknown fields are ignored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias, TypedDict, get_args

from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.forms import Form
from golem_chain.broker.doors.intake.uploads import Upload
from golem_chain.shared.languages import code_of
from golem_chain.shared.records import PROMPT_MOST, Task
from golem_chain.shared.text import visible

Format: TypeAlias = Literal["json", "text", "srt", "verbose_json", "vtt"]
FORMATS: tuple[Format, ...] = get_args(Format)
GRANULARITIES = ("word", "segment")
#: Formats whose answer has times: words can be asked for. At OpenAI, verbose_json only.
_TIMED = ("verbose_json", "srt", "vtt")
#: What clients send to have the language detected.
_DETECT = ("auto", "detect")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class Options(TypedDict):
    """The options of the job, as `intake.options.options_of` takes them."""

    task: Task
    word_times: bool
    language: str | None  # Whisper's code; None: detected
    prompt: str | None
    temperature: float | None
    vocabulary: str | None
    hotwords: str | list[str] | None
    labels: str | None
    stop: str


@dataclass(frozen=True)
class Asked:
    """A request for a transcription or a translation."""

    task: Task
    file: Upload
    model: str | None
    format: Format
    segments: bool  # whether verbose_json lists them
    words: bool  # whether words have times
    stream: bool
    options: Options


def read(form: Form, task: Task) -> Asked:
    """Read a form. Raises HttpError 400, with the message, param and code of OpenAI where that has one."""
    file = _file(form)
    format = _format(form)
    granularities = form.all("timestamp_granularities", "timestamp_granularities[]")
    for one in filter(None, granularities):
        if one not in GRANULARITIES:
            _refuse_value("timestamp_granularities[]", one, GRANULARITIES)
    if any(granularities) and format not in _TIMED:
        raise _wrong(
            "timestamp_granularities[]",
            "`response_format` must be `verbose_json` if `timestamp_granularities[]` is provided, or srt or vtt.",
        )
    stream = _flag(form, "stream")
    if stream and format in ("srt", "vtt"):
        raise _wrong("stream", f"response_format={format} cannot be streamed: leave out stream, or ask for json.")
    labels, stop = form.one("labels"), form.one("stop")
    return Asked(
        task=task,
        file=file,
        model=form.one("model"),
        format=format,
        segments=not any(granularities) or "segment" in granularities,
        words="word" in granularities,
        stream=stream,
        options={
            "task": task,
            "word_times": "word" in granularities,
            "language": _language(form),
            "prompt": _prompt(form.one("prompt")),
            "temperature": _temperature(form) or None,  # 0: greedy with fallbacks, as at OpenAI
            "vocabulary": form.one("vocabulary"),
            "hotwords": form.one("hotwords") or [one for one in form.all("keywords", "keywords[]") if one] or None,
            "labels": labels,
            "stop": stop or ("interpreter" if labels else "scribe"),
        },
    )


def _file(form: Form) -> Upload:
    file = form.files[0] if form.files else None
    if file is None:
        if form.all("file"):
            raise _wrong("file", "Invalid type for 'file': expected a file, but got a text instead.", "invalid_type")
        raise _wrong("file", "Missing required parameter: 'file'.", "missing_required_parameter")
    if not file.size_bytes:
        name = visible(file.name, 100)
        raise _wrong("file", f"Audio file is too short: {name} is empty (0 bytes).", "audio_too_short")
    return file


def _format(form: Form) -> Format:
    given = form.one("response_format") or "json"
    if given == "diarized_json":
        raise _wrong(
            "response_format",
            "response_format 'diarized_json' is not supported: no model here tells speakers apart; use verbose_json.",
        )
    if given not in FORMATS:
        _refuse_value("response_format", given, FORMATS)
    return given


def _flag(form: Form, field: str) -> bool:
    given = (form.one(field) or "false").strip().lower()
    if given not in _FLAGS:
        raise _wrong(field, f"Invalid type for '{field}': expected a boolean, but got {_shown(given)}.", "invalid_type")
    return _FLAGS[given]


def _temperature(form: Form) -> float | None:
    given = form.one("temperature")
    if given is None:
        return None
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        what = f"expected a decimal, but got {_shown(given)}"
        raise _wrong("temperature", f"Invalid type for 'temperature': {what}.", "invalid_type")
    if found > 1:
        raise _wrong(
            "temperature",
            f"Invalid 'temperature': decimal above maximum value. Expected a value <= 1, but got {found:g} instead.",
            "decimal_above_max_value",
        )
    if found < 0:
        raise _wrong(
            "temperature",
            f"Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got {found:g} instead.",
            "decimal_below_min_value",
        )
    return found


def _language(form: Form) -> str | None:
    """`languages[]` lists those that may be spoken; a single one is the language."""
    given, possible = form.one("language"), [one for one in form.all("languages", "languages[]") if one]
    if given is None and len(possible) == 1:
        given = possible[0]
    if given is None or given.strip().lower() in _DETECT:
        return None
    if (code := code_of(given)) is None:
        raise _wrong(
            "language",
            f"Invalid language {_shown(given)}. Language parameter must be specified in ISO-639-1 format, such as en, "
            "de or ru, or left out to detect it.",
            "invalid_language_format",
        )
    return code


def _prompt(given: str | None) -> str | None:
    """The end of a long prompt counts, as at OpenAI: the Scribe takes its last 221 tokens."""
    if given is None or len(given) <= PROMPT_MOST:
        return given
    kept = given[-PROMPT_MOST:]
    return kept.partition(" ")[2].strip() or kept  # from a whole word on


def _refuse_value(field: str, given: str, allowed: Sequence[str]) -> NoReturn:
    quoted = [f"'{one}'" for one in allowed]
    supported = f"{', '.join(quoted[:-1])}, and {quoted[-1]}" if len(quoted) > 2 else " and ".join(quoted)
    raise _wrong(field, f"Invalid value: {_shown(given)}. Supported values are: {supported}.")


def _wrong(param: str, message: str, code: str = "invalid_value") -> HttpError:
    return HttpError(400, message, code, param)


def _shown(given: str) -> str:
    return f"'{visible(given, 60)}'"
