"""Evaluation data: recordings from a manifest or from one folder per class, utterances from JSON lines.

A manifest is `manifest.jsonl` in a folder, or any JSON lines file: `path` (relative to the manifest), and `text`
(reference words; "" for no speech, null if unknown), `label` (a class) or both; optionally `language` (ISO 639-1, or
`zxx` for no language) and `speaker`. Without a manifest, the names of the subfolders are the classes.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.extensions import EXTENSIONS
from golem_chain.shared.json_object import JsonObject

T = TypeVar("T")

MANIFEST = "manifest.jsonl"
SILENCE, UNKNOWN = "_silence_", "_unknown_"
#: Folder names and labels of recordings without speech.
SILENT = frozenset({SILENCE, "_background_noise_", "nonspeech"})
NO_LANGUAGE = "zxx"  # ISO 639-2


@dataclass(frozen=True)
class Clip:
    """One recording with its reference data."""

    path: Path
    text: str | None = None  # "": no speech; None: unknown words
    label: str | None = None
    language: str | None = None
    speaker: str | None = None

    @property
    def silent(self) -> bool:
        """Whether the recording has no speech."""
        return self.label in SILENT or self.language == NO_LANGUAGE or self.text == ""


@dataclass(frozen=True)
class Said:
    """One utterance with its intent; `oos`: out of scope."""

    text: str
    intent: str
    language: str | None = None


def read_clips(places: Sequence[Path]) -> list[Clip]:
    """Return the recordings of manifests and folders, in order. Raises BadRequest for bad rows or missing files."""
    clips = [clip for place in places for clip in _clips(place)]
    if missing := [clip.path for clip in clips if not clip.path.is_file()]:
        raise BadRequest(f"{len(missing)} of {len(clips)} recordings are not there, the first is {missing[0]}.")
    return clips


def read_utterances(place: Path) -> dict[str, list[Said]]:
    """Return the utterances by file name, from one file or from all JSON lines files of a folder except a manifest.
    Raises BadRequest for bad rows or missing files."""
    _exists(place)
    files = [file for file in sorted(place.glob("*.jsonl")) if file.name != MANIFEST] if place.is_dir() else [place]
    if not files:
        raise BadRequest(f"The folder {place} has no file of utterances: JSON lines of text and intent, as x.jsonl.")
    return {file.stem: [_said(file, number, row) for number, row in _rows(file)] for file in files}


def some(items: Sequence[T], limit: int | None) -> list[T]:
    """Return at most `limit` items, evenly spaced, so that lists sorted by class keep all their classes."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[place * len(items) // limit] for place in range(limit)]


def _clips(place: Path) -> list[Clip]:
    _exists(place)
    manifest = place / MANIFEST if place.is_dir() else place
    if manifest.is_file():
        return [_clip(manifest, number, row) for number, row in _rows(manifest)]
    files = sorted(file for file in place.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
    if not files:
        raise BadRequest(f"The folder {place} has neither a {MANIFEST} nor a recording.")
    # A file directly in the folder has the folder's name as its class.
    inside = [(file, file.relative_to(place).parts) for file in files]
    named = [(file, parts[0] if len(parts) > 1 else place.resolve().name) for file, parts in inside]
    return [
        Clip(file, text="" if label in SILENT else None, label=label, speaker=_named(file)) for file, label in named
    ]


def _clip(manifest: Path, number: int, row: JsonObject) -> Clip:
    where = f"{manifest}, line {number}"
    if "text" not in row and "label" not in row:
        raise BadRequest(f"{where}: there is neither a text nor a label, it has {_columns(row)}.")
    path = _text(where, row, "path")
    if path is None:
        raise BadRequest(f"{where}: there is no path, it has {_columns(row)}.")
    text, label, language = (_text(where, row, key) for key in ("text", "label", "language"))
    return Clip(manifest.parent / path, text, label, language, _text(where, row, "speaker") or _named(Path(path)))


def _named(file: Path) -> str | None:
    """The speaker in a file name of Speech Commands, `5170b77f_nohash_3.wav`."""
    name, found, _ = file.name.partition("_nohash_")
    return name if found else None


def _said(file: Path, number: int, row: JsonObject) -> Said:
    where = f"{file}, line {number}"
    text, intent = _text(where, row, "text"), _text(where, row, "intent")
    if text is None or intent is None:
        raise BadRequest(f"{where}: an utterance needs a text and an intent, it has {_columns(row)}.")
    return Said(text, intent, _text(where, row, "language"))


def _rows(file: Path) -> Iterator[tuple[int, JsonObject]]:
    """Yield the objects of a JSON lines file, numbered from 1. Raises BadRequest for a bad line or an empty file."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise BadRequest(f"{file} cannot be read: {why}.") from None
    found = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise BadRequest(f"{file}, line {number}: this is not a JSON object; one stands on each line.")
        found = True
        yield number, row
    if not found:
        raise BadRequest(f"{file} is empty: one JSON object stands on each line.")


def _text(where: str, row: JsonObject, key: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{where}: {key} is not a text.")
    return value


def _columns(row: JsonObject) -> str:
    return ", ".join(sorted(row)[:8]) or "nothing"


def _exists(place: Path) -> None:
    if not place.exists():
        raise BadRequest(f"There is no file or folder {place}.")
