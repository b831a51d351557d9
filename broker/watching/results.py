"""The results: where they go, and that each is whole or not there."""

import errno
import os
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from golem_chain.broker.watching.files import Signature
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.text import visible

#: Errors that pass: the disk is full, or the folder is not mounted. Any other will be the same next time.
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ESTALE,
            errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # fmt: skip
_PART = ".golem-"  # how the names of half-written results begin
_STALE_S = 600  # older ones are not being written any more


def passes(exc: OSError) -> bool:
    """Return whether it is worth trying again later. Pure."""
    return exc.errno in _PASSING


class Results:
    """The folder of the results. Paths are relative to it."""

    def __init__(self, folder: Path, *, shown: Path, create: bool) -> None:
        """`shown`: the folder as it was typed. Raises BadRequest if nothing can be written there."""
        named = visible(str(shown), 200)
        try:
            if create:
                folder.mkdir(parents=True, exist_ok=True)
            self._device = folder.stat().st_dev
        except OSError as exc:
            raise BadRequest(f"Cannot write to {named} ({exc.strerror}): choose a folder with --out.") from None
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            why = "permission denied" if folder.is_dir() else "not a folder"
            raise BadRequest(f"Cannot write to {named} ({why}): choose a folder with --out.")
        self.folder, self.shown = folder.resolve(), shown
        self._parts = count()
        self._swept: set[Path] = set()

    def newer(self, results: list[str], audio: Signature) -> bool:
        """Return whether all results exist and none is older than the audio."""
        try:
            return all((self.folder / result).stat().st_mtime_ns >= audio.mtime_ns for result in results)
        except (OSError, ValueError):
            return False

    def write(self, result: str, text: str) -> Path:
        """Write or replace a result in one step; whoever reads sees the old one or the new one. Raises OSError."""
        path = self.folder / result
        if self.folder.stat().st_dev != self._device:
            raise OSError(errno.ENODEV, "another file system is mounted there")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sweep(path.parent)
        # a name of its own, because the result's may be as long as a name can be
        part = path.parent / f"{_PART}{os.getpid()}-{next(self._parts)}.part"
        try:
            with part.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # a rename may reach the disk before the bytes do
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        return path

    def _sweep(self, folder: Path) -> None:
        """Delete what a killed watcher has left half-written, the first time that something is written to a folder."""
        if folder in self._swept:
            return
        self._swept.add(folder)
        for part in folder.glob(f"{_PART}*.part"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > _STALE_S:  # a younger one may be another watcher's
                    part.unlink()
