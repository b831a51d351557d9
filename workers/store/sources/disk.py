"""Writing to the store's folder: one writer at a time, atomic replacement of folders, disk errors as BadSetting."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from golem_chain.shared.errors import BadSetting
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.store.sources.progress import Show

_TEMPORARY = ".tmp-"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def put(made: Path, folder: Path) -> None:
    """Move a finished folder into place; it is flushed to disk on return. Processes that have mapped files of a
    replaced folder can still read them."""
    flush_folder(made)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(made.parent / "replaced")
    made.rename(folder)
    flush_folder(folder.parent)


def put_files(made: Path, folder: Path) -> None:
    """Move the files of a finished folder into one that is in place, in the order of their names, each flushed to
    disk and replacing its predecessor as a whole."""
    flush_folder(made)
    for path in sorted(made.iterdir()):
        path.rename(folder / path.name)
    flush_folder_entry(folder)


def flush_folder_entry(folder: Path) -> None:
    """Flush the list of a folder's files to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush a folder and its contents to disk."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def temporary(store: Path) -> Iterator[Path]:
    """A temporary folder on the store's disk, removed afterwards."""
    work = store / f"{_TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}"
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sweep(store: Path) -> None:
    """Remove the leftovers of killed pulls. Call it with the lock held: then no such folder is in use."""
    for path in store.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def writable(store: Path) -> Iterator[None]:
    """Create the store if necessary, and turn disk errors into BadSetting."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise BadSetting(f"GOLEM_STORE={store}: the disk is full; free space or use another folder.") from None
        if isinstance(exc, (PermissionError, FileExistsError, NotADirectoryError)) or exc.errno == errno.EROFS:
            foreign = exc.filename and not Path(exc.filename).is_relative_to(store)
            if foreign and not store.is_relative_to(exc.filename):
                raise BadSetting(f"{exc.filename} cannot be read ({exc.strerror}): check its permissions.") from None
            raise BadSetting(f"GOLEM_STORE={store} cannot be written ({exc.strerror}): use another folder.") from None
        raise


def check_room(store: Path, need: int) -> None:
    """Raise BadSetting if fewer than `need` bytes are free, before anything is downloaded."""
    free = shutil.disk_usage(store).free
    if free < need:
        raise BadSetting(
            f"GOLEM_STORE={store}: the disk has {format_bytes(free)} free but the pull may need {format_bytes(need)}; "
            "free space or use another folder."
        )


@contextmanager
def locked(store: Path, show: Show) -> Iterator[None]:
    """Hold the store's pull lock. The kernel releases it if the process dies."""
    with (store / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            show.say(f"Waiting for another pull into {store} to finish.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
