"""What a file in a watched folder is: audio or not, and new or done. Pure decisions."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from golem_chain.shared.extensions import EXTENSIONS


class Signature(NamedTuple):
    """What changes when a file is written. Compared for equality only, so that a clock that jumps does no harm."""

    size_bytes: int
    mtime_ns: int


class Entry(NamedTuple):
    """What the journal says of a file: the version that was last processed, and how that ended."""

    signature: Signature
    state: Literal["done", "failed", "found"]  # found: it had newer results when it was first seen
    asked: str = ""  # the digest of the options
    results: tuple[str, ...] = ()  # relative to the folder of the results
    job: str | None = None
    content: str | None = None  # the id of its content, which the first try had
    code: str = ""
    message: str = ""


def is_audio(file: str) -> bool:
    """Return whether a path relative to the watched folder names audio. What is hidden is not: it is how rsync and
    browsers name what they have not finished. `clip.wav.part` and `clip.wav~` have no known ending."""
    path = PurePosixPath(file)
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and not path.name.startswith("~") and path.suffix.lower() in EXTENSIONS


def is_new(
    seen: Signature, entry: Entry | None, asked: str, forms: Sequence[str], *, have_results: bool, retry: bool
) -> bool:
    """Return whether a file is to be processed.

    (1) A version that the journal does not know is new, unless there is no entry at all and its results are newer.
    (2) A version that failed is new where failures are to be tried again: when the watch begins.
    (3) A version that is done is new if it is to be processed with other options or into another format.
    """
    if entry is None:
        return not have_results
    if entry.signature != seen:
        return True
    if entry.state == "failed":
        return retry
    if entry.state == "found":
        return not have_results and retry
    return entry.asked != asked or not {*forms} <= {result.rpartition(".")[2] for result in entry.results}


def stem(file: str) -> str:
    """Return a key that is equal for files whose results would have the same name: `talks/clip` of `talks/Clip.wav`."""
    return str(PurePosixPath(file).with_suffix("")).casefold()


def result_name(file: str, form: str, *, whole: bool) -> str:
    """Return the result's path, relative to the folder of the results: `talks/clip.srt`, or `talks/clip.wav.srt` for
    the `whole` name, where another recording differs from this one in its extension only."""
    path = PurePosixPath(file)
    return str(path.with_name(f"{path.name if whole else path.stem}.{form}"))
