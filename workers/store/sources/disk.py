"""The store's folder as a disk: one writer at a time, whole folders or none, refusals as one sentence."""

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
    """Move a finished folder into its place, on disk when this returns. A folder that is replaced stays readable
    for those who have it mapped."""
    flush_folder(made)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(made.parent / "replaced")
    made.rename(folder)
    flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder and all that is in it to the disk."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def temporary(store: Path) -> Iterator[Path]:
    """A folder to build in, on the disk of the store; gone afterwards."""
    work = store / f"{_TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}"
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sweep(store: Path) -> None:
    """Remove what killed pulls left. Only the holder of the lock makes such folders, so none is in use."""
    for path in store.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def writable(store: Path) -> Iterator[None]:
    """Turn a disk's refusals into one sentence."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise BadSetting(f"GOLEM_STORE={store}: the disk is full; make room or name another folder.") from None
        if isinstance(exc, (PermissionError, FileExistsError, NotADirectoryError)) or exc.errno == errno.EROFS:
            foreign = exc.filename and not Path(exc.filename).is_relative_to(store)
            if foreign and not store.is_relative_to(exc.filename):
                raise BadSetting(f"{exc.filename} cannot be read ({exc.strerror}).") from None
            raise BadSetting(f"GOLEM_STORE={store} cannot be written ({exc.strerror}): name another folder.") from None
        raise


def check_room(store: Path, need: int) -> None:
    """Refuse before anything is fetched. `need`: bytes. Raises BadSetting."""
    free = shutil.disk_usage(store).free
    if free < need:
        raise BadSetting(
            f"GOLEM_STORE={store}: the disk has {format_bytes(free)} free and the pull may need {format_bytes(need)}; "
            "make room or name another folder."
        )


@contextmanager
def locked(store: Path, show: Show) -> Iterator[None]:
    """Be the only pull on this store. The lock goes with the process that holds it."""
    with (store / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            show.say(f"Another pull is at work on {store}: waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
