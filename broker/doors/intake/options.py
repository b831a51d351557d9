"""The options of a job as a client sends them: texts of a form or values of JSON, never the name of a server's file."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar, cast, get_args

from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.jobs.options import make_options, validated
from golem_chain.shared.errors import GolemError
from golem_chain.shared.labels import built_in, check_labels, parse_labels
from golem_chain.shared.records import (
    PROMPT_MOST,
    JobOptions,
    LabelSet,
    Lane,
    OracleParams,
    StageName,
    Task,
    Vocabulary,
)
from golem_chain.shared.text import NAME, visible
from golem_chain.shared.vocabulary import parse_hotwords, parse_vocabulary

T = TypeVar("T")
#: A value as it comes: a form has texts only, JSON its own types. None and an empty text: not given.
Given: TypeAlias = str | float | bool | None
#: Finds a label set that the caller has stored; None if there is none of this name.
Stored: TypeAlias = Callable[[str], Awaitable[LabelSet | None]]

#: Characters of a text that costs milliseconds to parse: longer ones are parsed in a thread.
_QUICK = 2000
#: Characters of any of these texts, as in a field of a form.
LONGEST = 256 * 1024
_URL_MOST = 2000
_LANGUAGE = re.compile(r"[A-Za-z]{2,20}([-_][A-Za-z0-9]{2,8})?")


async def options_of(
    *,
    stop: Given = None,
    labels: Given | LabelSet = None,
    vocabulary: Given = None,
    fillers: Given = None,
    language: Given = None,
    task: Given = None,
    word_times: Given = None,
    prompt: Given = None,
    temperature: Given = None,
    hotwords: Given | Sequence[str] = None,
    lane: Given = None,
    expires_s: Given = None,
    group: Given = None,
    webhook: Given = None,
    oracle: Mapping[str, Given] | None = None,
    stored: Stored | None = None,
) -> JobOptions:
    """Read and check the options of a job. `prompt` and `temperature` are the Scribe's; `oracle` are the fields of
    OracleParams. `labels` is a text as in `--labels`, `@name` of a set that `stored` finds or that is built in, or a
    LabelSet.

    Raises HttpError 400, which names the field; what `stored` raises.
    """
    wanted = labels if isinstance(labels, LabelSet) else await _labels(text("labels", labels), stored)
    spoken = await _parsed("vocabulary", text("vocabulary", vocabulary), text("fillers", fillers))
    if isinstance(hotwords, str | int | float | None):
        hotwords = text("hotwords", hotwords)
        _refuse_files("hotwords", hotwords)
    with about("hotwords"):
        expected = parse_hotwords(hotwords)
    code = text("language", language)
    if code is not None and not _LANGUAGE.fullmatch(code):
        raise wrong("language", f"{shown(code)} is no code of a language: use one such as en or de.")
    name = text("group", group)
    if name is not None and not re.fullmatch(NAME, name):
        raise wrong("group", f"{shown(name)} is no name of a group: use up to 64 letters, digits, dots, - and _.")
    until_s = number("expires_s", expires_s)
    if until_s is not None and until_s <= 0:
        raise wrong("expires_s", "expires_s must be more than 0: give the seconds until the job expires.")
    with about(None):
        return make_options(
            stop=choice("stop", stop, cast("tuple[StageName, ...]", get_args(StageName))),
            labels=wanted,
            vocabulary=spoken,
            language=None if code is None else code.lower(),
            task=choice("task", task, cast("tuple[Task, ...]", get_args(Task))) or "transcribe",
            word_times=flag("word_times", word_times) or False,
            oracle=_oracle(oracle or {}),
            initial_prompt=text("prompt", prompt, PROMPT_MOST),
            scribe_temperature=number("temperature", temperature, 0, 1),
            hotwords=expected,
            lane=choice("lane", lane, cast("tuple[Lane, ...]", get_args(Lane))) or "bulk",
            expires_s=until_s,
            group=name,
            webhook=text("webhook", webhook, _URL_MOST),
        )


# -- single values


def text(field: str, given: Given, most: int = LONGEST) -> str | None:
    """Return a text, None if it is not given. Raises HttpError 400."""
    if given is None or given == "":
        return None
    if not isinstance(given, str):
        raise wrong(field, f"{field} must be a text.")
    if len(given) > most:
        raise wrong(field, f"{field} has {len(given):,} characters; the limit is {most:,}.")
    return given


def number(field: str, given: Given, least: float = -math.inf, most: float = math.inf) -> float | None:
    """Return a number between two bounds, None if it is not given. Raises HttpError 400."""
    if given is None or given == "":
        return None
    try:
        found = math.nan if isinstance(given, bool) else float(given)
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise wrong(field, f"{field}={shown(given)} is not a number.")
    if not least <= found <= most:
        raise wrong(field, f"{field}={shown(given)} must be between {least:g} and {most:g}.")
    return found


def flag(field: str, given: Given) -> bool | None:
    """Return true or false, None if it is not given. Raises HttpError 400."""
    if given is None or given == "" or isinstance(given, bool):
        return None if given == "" else cast("bool | None", given)
    found = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if (word := str(given).strip().lower()) not in found:
        raise wrong(field, f"{field}={shown(given)} is neither true nor false.")
    return found[word]


def choice(field: str, given: Given, allowed: Sequence[T]) -> T | None:
    """Return one of the allowed texts, None if it is not given. Raises HttpError 400."""
    if given is None or given == "":
        return None
    if given not in allowed:
        raise wrong(field, f"{field}={shown(given)} is not known: use one of {', '.join(map(str, allowed))}.")
    return cast("T", given)


def wrong(field: str | None, message: str, code: str = "invalid_value") -> HttpError:
    """Return the error for a field: 400."""
    return HttpError(400, message, code, field)


def shown(given: object) -> str:
    """Return what was given as it stands in a sentence: quoted, at most 60 characters."""
    return f'"{visible(str(given), 60)}"'


@contextmanager
def about(field: str | None) -> Iterator[None]:
    """Turn what is wrong with a field into HttpError 400, which names it."""
    try:
        yield
    except GolemError as exc:
        raise wrong(field, exc.message, exc.code.replace("-", "_")) from None


# -- what several texts say together


async def _labels(given: str | None, stored: Stored | None) -> LabelSet | None:
    if given is None:
        return None
    reference = given.strip()
    if not reference.startswith("@"):
        with about("labels"):
            return await _apart(len(given), lambda: parse_labels(given))
    name = reference[1:]
    if re.fullmatch(NAME, name):
        if stored and (found := await stored(name)):
            with about("labels"):
                return check_labels(found)
        if name in await asyncio.to_thread(built_in):
            return await asyncio.to_thread(parse_labels, reference)
    raise wrong(
        "labels",
        f"There is no stored label set {shown(name)}: store it first, or send the labels themselves. "
        "A file of the server is never read.",
    )


async def _parsed(field: str, given: str | None, fillers: str | None) -> Vocabulary | None:
    _refuse_files(field, given)
    _refuse_files("fillers", fillers)
    with about(field):
        return await _apart(len(given or ""), lambda: parse_vocabulary(given, fillers))


def _refuse_files(field: str, given: str | None) -> None:
    if given is not None and given.strip().startswith("@"):
        raise wrong(field, f"{field} begins with @, and no file of the server is read: send its lines themselves.")


async def _apart(characters: int, parse: Callable[[], T]) -> T:
    """Parse a long text in a thread: the event loop serves others meanwhile."""
    return parse() if characters <= _QUICK else await asyncio.to_thread(parse)


#: Which parameters of the reply are whole numbers.
_WHOLE = ("max_new_tokens", "top_k", "no_repeat_ngram_size", "seed")


def _oracle(given: Mapping[str, Given]) -> OracleParams:
    for field in given:
        if field not in OracleParams.model_fields:
            raise wrong(field, f"{shown(field)} is no parameter of the reply.")
    found: dict[str, float | int] = {}
    for field, value in given.items():
        read = number(field, value)
        if read is None:
            continue
        if field in _WHOLE and not read.is_integer():
            raise wrong(field, f"{field}={shown(value)} must be a whole number.")
        digits = str(value).strip()  # a float would round a large seed
        found[field] = read if field not in _WHOLE else int(digits) if digits.isdecimal() else int(read)
    with about(next(iter(found), None)), validated():
        return OracleParams.model_validate(found)
