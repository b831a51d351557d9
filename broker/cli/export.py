"""Writes Outcomes to files, in the formats of `jobs.subtitles`, and chooses the paths."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from golem_chain.broker.jobs.subtitles import render
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import Outcome
from golem_chain.shared.text import storable, visible


def places(names: Sequence[str], form: str, folder: Path | None) -> dict[str, Path]:
    """Return the output path of each name. Pure.

    `clip.wav` becomes `clip.srt`. Where two paths would collide, or collide with a recording, the suffix is kept
    (`clip.wav.srt`, `clip.mp3.srt`); remaining collisions are numbered. A repeated name is one file.
    """
    once = list(dict.fromkeys(names))
    parent = {name: folder if folder is not None else Path(name).parent for name in once}
    short = {name: parent[name] / f"{Path(name).stem}.{form}" for name in once}
    audio = {_same(Path(name)) for name in once}
    met = Counter(_same(path) for path in short.values())
    taken = {_same(path) for path in short.values() if met[_same(path)] == 1} | audio
    found: dict[str, Path] = {}
    for name in once:
        path, number = short[name], 1
        if met[_same(path)] > 1 or _same(path) in audio:
            path = parent[name] / f"{Path(name).name}.{form}"
            while _same(path) in taken:
                number += 1
                path = parent[name] / f"{Path(name).name}-{number}.{form}"
            taken.add(_same(path))
        found[name] = path
    return found


def _same(path: Path) -> str:
    """Return a key that is equal for paths that a case-insensitive file system treats as one file."""
    return os.path.normpath(path).casefold()


class Files:
    """The files of a set of jobs. `write` is called as jobs end."""

    def __init__(self, names: Sequence[str], form: str, folder: Path | None) -> None:
        """`names`: the audio arguments. Raises BadRequest if a folder is not writable."""
        self._form, self._written = form, set[Path]()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                raise _refused(folder, exc.strerror or "it cannot be created") from None
        self._places = {storable(name): path for name, path in places(names, form, folder).items()}
        for parent in {path.parent for path in self._places.values()}:
            if not parent.is_dir():
                raise _refused(parent, "no such folder")
            if not os.access(parent, os.W_OK | os.X_OK):
                raise _refused(parent, "permission denied")

    def write(self, ended: Sequence[Outcome]) -> None:
        """Write or replace the files of jobs that are done; failed jobs have none. Raises BadRequest if one fails."""
        for outcome in (one for one in ended if one.state == "done"):
            path = self._places[outcome.name]
            part = path.with_name(f".{path.name}.part")
            try:
                part.write_text(render(outcome, self._form), encoding="utf-8", newline="\n")
                part.replace(path)
            except OSError as exc:
                raise _refused(path, exc.strerror or type(exc).__name__) from None
            self._written.add(path)

    def summary(self) -> str:
        """Return a sentence about the written files."""
        if len(self._written) == 1:
            return f"Wrote {visible(str(*self._written))}."
        return f"Wrote {len(self._written)} {self._form} files."


def _refused(path: Path, why: str) -> BadRequest:
    return BadRequest(f"Cannot write {visible(str(path), 200)} ({why}): choose a folder with --out.")
