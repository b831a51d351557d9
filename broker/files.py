"""Writes what was heard to files: one for each job and format, beside the audio or in one folder."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from golem_chain.broker import formats
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import Outcome
from golem_chain.shared.text import storable, visible


def places(names: Sequence[str], form: str, folder: Path | None) -> dict[str, Path]:
    """Where the file of each name goes. Pure.

    `clip.wav` becomes `clip.srt`; where two would meet, or meet one of the recordings, both keep their endings
    (`clip.wav.srt`, `clip.mp3.srt`), and what still meets is numbered. A name that comes twice is one file.
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
    """What two paths have in common that are one file where letters' case does not count."""
    return os.path.normpath(path).casefold()


class Files:
    """The files of a set of jobs. `write` is called as jobs end."""

    def __init__(self, names: Sequence[str], form: str, folder: Path | None) -> None:
        """`names`: the audio, as it was typed. Raises BadRequest where a folder cannot be written to."""
        self._form, self._written = form, set[Path]()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                raise _refused(folder, exc.strerror or "it cannot be made") from None
        self._places = {storable(name): path for name, path in places(names, form, folder).items()}
        for parent in {path.parent for path in self._places.values()}:
            if not parent.is_dir():
                raise _refused(parent, "there is no such folder here")
            if not os.access(parent, os.W_OK | os.X_OK):
                raise _refused(parent, "nothing may be written there")

    def write(self, ended: Sequence[Outcome]) -> None:
        """The files of jobs that are done, replaced where they exist; a job that failed has none. Raises BadRequest."""
        for outcome in (one for one in ended if one.state == "done"):
            path = self._places[outcome.name]
            part = path.with_name(f".{path.name}.part")
            try:
                part.write_text(formats.render(outcome, self._form), encoding="utf-8", newline="\n")
                part.replace(path)
            except OSError as exc:
                raise _refused(path, exc.strerror or type(exc).__name__) from None
            self._written.add(path)

    def summary(self) -> str:
        """What was written."""
        if len(self._written) == 1:
            return f"Wrote {visible(str(*self._written))}."
        return f"Wrote {len(self._written)} {self._form} files."


def _refused(path: Path, why: str) -> BadRequest:
    return BadRequest(f"{visible(str(path), 200)} cannot be written ({why}): name a folder with --out.")
