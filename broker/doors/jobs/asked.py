"""What a request asks for: its files or texts with their options, from a form or from JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from pydantic import ValidationError

from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.intake.bodies import is_json, read_json
from golem_chain.broker.doors.intake.forms import Form, read_form
from golem_chain.broker.doors.intake.options import shown, wrong
from golem_chain.broker.doors.intake.uploads import Upload
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import LabelSet

#: Files and texts of one request.
FILES_MOST, TEXTS_MOST = 100, 1000
#: Size of a request in JSON, bytes: it is held in memory. 1,000 texts of 8,000 characters.
JSON_MOST_BYTES = 8 << 20
#: Characters of the name of a job.
NAME_MOST = 1000
#: Fields that stand for an option of the job, and for a parameter of the reply.
OPTIONS: Final = (
    "labels", "vocabulary", "fillers", "language", "task", "word_times", "stop", "lane", "hotwords", "prompt",
    "temperature", "group", "expires_s", "webhook",
)  # fmt: skip
REPLY: Final = {
    "max_new_tokens": "max_new_tokens",
    "reply_temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "no_repeat_ngram_size": "no_repeat_ngram_size",
    "seed": "seed",
}
#: The other fields.
_INPUT: Final = ("file", "text", "texts", "intent", "name")


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    files: tuple[Upload, ...]
    texts: tuple[str, ...]
    names: tuple[str, ...]  # of the jobs, in their order; empty: they are named after their files
    intent: str | None
    options: Mapping[str, Any]  # by OPTIONS
    reply: Mapping[str, Any]  # by the fields of OracleParams

    @property
    def jobs(self) -> Sequence[Upload | str]:
        """What each job begins with."""
        return self.files or self.texts


async def read(request: Request, door: Door, caller: Caller) -> Wanted:
    """Read a request. Raises HttpError, and what `read_form` raises."""
    if is_json(request):
        return of_json(await read_json(request, JSON_MOST_BYTES))
    return of_form(await read_form(request, door, caller, FILES_MOST))


def of_form(form: Form) -> Wanted:
    """Return what a form asks for. Pure. Raises HttpError."""
    given: dict[str, Any] = {}
    for name, value in form.fields:
        if name == "text":
            given.setdefault("texts", []).append(value)
        elif name == "name":
            given.setdefault("name", []).append(value)
        elif name in given:
            raise wrong(name, f"{name} is given twice: give it once.")
        elif name in ("file", "texts"):
            raise wrong(name, f"{name} must be a file: send it as curl does with -F file=@clip.wav.")
        else:
            given[name] = value
    return _wanted(given, form.files)


def of_json(given: JsonObject) -> Wanted:
    """Return what a JSON body asks for. Pure. Raises HttpError."""
    if "text" in given and "texts" in given:
        raise wrong("texts", "text and texts exclude each other: give one of them.")
    texts = given.get("texts", [given["text"]] if "text" in given else [])
    if not _are_texts(texts):
        raise wrong("texts" if "texts" in given else "text", "A text must be a string, and texts a list of strings.")
    names = given.get("name", [])
    names = [names] if isinstance(names, str) else names
    if not _are_texts(names):
        raise wrong("name", "name must be a string, or a list with one for each text.")
    if "file" in given:
        raise wrong("file", "Files are sent as multipart/form-data, not as JSON.")
    for name in (*OPTIONS, *REPLY):
        if isinstance(given.get(name), dict | list) and name not in ("labels", "hotwords"):
            raise wrong(name, f"{name} must be a text, a number or a truth value.")
    if isinstance(labels := given.get("labels"), dict | list):
        given = {**given, "labels": label_set_of(labels)}
    if isinstance(words := given.get("hotwords"), dict | list) and not _are_texts(words):
        raise wrong("hotwords", "hotwords must be a text, or a list of texts.")
    rest = {name: value for name, value in given.items() if name not in ("text", "texts", "name")}
    return _wanted({**rest, "texts": texts, "name": names}, ())


def _wanted(given: Mapping[str, Any], files: tuple[Upload, ...]) -> Wanted:
    for name in given:
        if name not in (*_INPUT, *OPTIONS, *REPLY):
            raise wrong(str(name)[:80], f"{shown(name)} is no field of this request.", "unknown_parameter")
    texts, names = tuple(given.get("texts", ())), tuple(given.get("name", ()))
    if files and texts:
        raise wrong("text", "A request has either files or texts: send two requests.")
    if not files and not texts:
        raise wrong("file", "There is nothing to do: send a file, or a text.", "missing_required_parameter")
    if len(texts) > TEXTS_MOST:
        raise wrong("texts", f"There are {len(texts):,} texts; the limit is {TEXTS_MOST:,}: send several requests.")
    if names and len(names) != len(files or texts):
        count = len(files or texts)
        raise wrong(
            "name", f"There are {len(names)} names for {count} jobs: give one for each, in their order, or none."
        )
    if any(len(name) > NAME_MOST for name in names):
        raise wrong("name", f"A name can have {NAME_MOST:,} characters: choose a shorter one.")
    intent = given.get("intent") or None
    if intent is not None and not isinstance(intent, str):
        raise wrong("intent", "intent must be a string.")
    if intent is not None and not texts:
        raise wrong("intent", "An intent is given with a text, not with audio: leave it out.")
    return Wanted(
        files,
        texts,
        names,
        intent,
        {name: given[name] for name in OPTIONS if name in given},
        {field: given[name] for name, field in REPLY.items() if name in given},
    )


def _are_texts(given: object) -> bool:
    return isinstance(given, list) and all(isinstance(text, str) for text in given)


def label_set_of(given: object) -> LabelSet:
    """Return a label set in JSON, not checked further. Pure. Raises HttpError."""
    try:
        return LabelSet.model_validate(given)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(["labels", *map(str, first["loc"])])
        raise wrong("labels", f"{where[:80]} in the label set: {first['msg']}.", "bad_labels") from None
