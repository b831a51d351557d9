"""The watched folder: which audio is in it, without what is linked from outside and without our own results."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from golem_chain.broker.watching.files import Signature, is_audio
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.text import visible


class Tree:
    """A folder and all below it. Files are named by their path relative to it, as `os.fsdecode` gives it."""

    def __init__(self, folder: Path, out: Path | None, tell: Callable[[str], None]) -> None:
        """`out`: a folder that may lie inside and holds no audio. Raises BadRequest if there is no folder."""
        if not folder.is_dir():
            raise BadRequest(f"There is no folder {visible(str(folder), 200) or '(an empty name)'}: name one to watch.")
        self.folder, self._tell = folder, tell
        self.root = folder.resolve()
        own = out.resolve() if out else self.root
        self._own = own if own != self.root else None
        self._told: set[str] = set()

    def identity(self) -> tuple[int, int] | None:
        """Return what tells the folder from one that took its place; None while it is gone."""
        try:
            found = self.root.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None

    def path(self, file: str) -> Path:
        """Return the path under which a file is opened, by us and by a worker."""
        return self.root / file

    def name(self, file: str) -> str:
        """Return a file as the user knows it: below the folder as it was typed."""
        return str(self.folder / file)

    def signature(self, file: str) -> Signature | None:
        """Return what the file looks like now; None if it is gone, or is no audio of this folder."""
        try:
            found = self.path(file).stat()
        except (OSError, ValueError):
            return None
        return Signature(found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    def scan(self) -> Iterator[tuple[str, Signature]]:
        """Yield all audio by name. Links to folders are not followed."""
        return self._below(self.root)

    def look(self, changed: str) -> Iterator[tuple[str, Signature | None]]:
        """Yield the audio at a path that has changed, or below it; None for a file that is gone."""
        path = Path(changed)
        try:
            file = str(path.relative_to(self.root))
            linked = path.parent.resolve() != path.parent  # found under its own name too, or outside
        except (OSError, ValueError, RuntimeError):
            return
        if linked or (self._own and path.is_relative_to(self._own)):
            return
        if path.is_dir() and not path.is_symlink():
            if not any(part.startswith(".") for part in Path(file).parts):
                yield from self._below(path)
        elif is_audio(file):
            yield file, self._seen(file)

    def _below(self, top: Path) -> Iterator[tuple[str, Signature]]:
        for here, folders, names in os.walk(top, onerror=self._unreadable):
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".") and (not self._own or Path(here, name) != self._own)
            )
            inside = Path(here).relative_to(self.root)
            for name in sorted(names):
                file = str(inside / name)
                if is_audio(file) and (seen := self._seen(file)):
                    yield file, seen

    def _seen(self, file: str) -> Signature | None:
        """Return the signature, None for a link that leads outside, which is said once."""
        path = self.path(file)
        if path.is_symlink():
            try:
                inside = path.resolve(strict=True).is_relative_to(self.root)
            except (OSError, RuntimeError):  # it leads nowhere, or in a circle
                return None
            if not inside:
                self._once(f"{visible(self.name(file), 200)} is a link to outside the folder: it is skipped.")
                return None
        return self.signature(file)

    def _unreadable(self, exc: OSError) -> None:
        if not isinstance(exc, FileNotFoundError):  # which was deleted while we looked
            self._once(f"The folder {visible(str(exc.filename), 200)} cannot be read ({exc.strerror}): it is skipped.")

    def _once(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._tell(sentence)
