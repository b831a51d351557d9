"""Expands arguments (texts, `@file` and `-` for lines of a file or of stdin) into texts, each with a name."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import TEXT_MOST
from golem_chain.shared.text import visible


class Named(NamedTuple):
    """A text and what it is called in tables: `text`, or the file with the number of the line."""

    name: str
    text: str


def expand(typed: Sequence[str], stdin: BinaryIO) -> list[Named]:
    """Return the texts in the order of the arguments, without empty lines. Raises BadRequest before any is used."""
    if list(typed).count("-") > 1:
        raise BadRequest("`-` was given twice, but standard input can be read only once.")
    texts: list[Named] = []
    for word in typed:
        if word == "-":
            texts += _lines("stdin", stdin.read())
        elif word.startswith("@"):
            texts += _lines(word[1:], _read(word[1:]))
        else:
            texts.append(_checked("text", word))
    return texts


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not a path"
        raise BadRequest(f"{visible(path, 200) or '@'} cannot be read ({why}): @ precedes a file of lines.") from None


def _lines(name: str, data: bytes) -> Iterator[Named]:
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadRequest(f"{visible(name, 200)} is not UTF-8: give one text per line.") from None
    texts = [_checked(f"{name}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not texts:
        raise BadRequest(f"{visible(name, 200)} has no text: give one per line.")
    yield from texts


def _checked(name: str, text: str) -> Named:
    shown = visible(name, 200)
    if not text.strip():
        raise BadRequest("The text is empty: give the words that were said.")
    if len(text) > TEXT_MOST:
        raise BadRequest(f"{shown}: it has {len(text):,} characters, the limit is {TEXT_MOST:,}: split it.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{shown}: it is not valid Unicode: give it in UTF-8.") from None
    return Named(name, text)
