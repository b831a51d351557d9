"""Expands arguments (files, folders, patterns, `-` for a list on stdin) into audio files."""

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.extensions import EXTENSIONS
from golem_chain.shared.text import visible


def expand(typed: Sequence[str], stdin: BinaryIO) -> list[str]:
    """Return the files in the order of the arguments; a folder yields all files below it, sorted by name.

    A file named twice is returned twice. Raises BadRequest if an argument names no file, before any file is opened.
    """
    if list(typed).count("-") > 1:
        raise BadRequest("`-` was given twice, but standard input can be read only once.")
    files: list[str] = []
    for word in typed:
        files += listed(stdin) if word == "-" else found(word)
    if not files:
        raise BadRequest("The list on standard input is empty: give one path per line.")
    return files


def listed(stdin: BinaryIO) -> list[str]:
    """Return the paths of a list, one per line (or NUL-terminated, as `find -print0` writes them)."""
    text = stdin.read()
    words = text.split(b"\0") if b"\0" in text else text.splitlines()
    return [file for word in words if word.strip() for file in found(os.fsdecode(word))]


def found(word: str) -> list[str]:
    """Return the files that one argument names. An existing path is never treated as a pattern."""
    try:
        kind = os.stat(word).st_mode  # noqa: PTH116 - Path would change how the word was typed
    except (OSError, ValueError) as exc:
        if isinstance(exc, FileNotFoundError) and glob.has_magic(word):
            matches = [file for match in sorted(glob.glob(word, recursive=True)) for file in found(match)]  # noqa: PTH207
            if matches:
                return matches
            raise BadRequest(f"No audio file matches the pattern {visible(word, 200)}.") from None
        why = "No such file" if isinstance(exc, FileNotFoundError | ValueError) else exc.strerror
        raise BadRequest(f"{why}: {visible(word, 200) or '(an empty name)'}.") from None
    if stat.S_ISDIR(kind):
        inside = list(below(word))
        if not inside:
            raise BadRequest(
                f"No audio files in the folder {visible(word, 200)} (known extensions: wav, flac, mp3, m4a, …)."
            )
        return inside
    if not stat.S_ISREG(kind):
        raise BadRequest(f"{visible(word, 200)} is neither a file nor a folder: save the audio to a file first.")
    return [word]


def below(folder: str) -> Iterator[str]:
    """Yield the audio files below a folder by name, without hidden files and without following links to folders."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(here, name)  # noqa: PTH118 - keeps `./x` as it was typed
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS and os.path.isfile(path):  # noqa: PTH113
                yield path
