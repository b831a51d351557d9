"""Hears of changes below a folder: a thread around watchfiles, which asks the kernel, or looks itself where it must."""

import threading
from importlib.util import find_spec
from pathlib import Path

from golem_chain.shared.errors import MissingExtra

_GATHER_MS = 300  # changes this close to each other come together
_STOP_MS = 500  # how soon the thread notices that it is to stop
_POLL_MS = 2000  # between two looks at a file system that reports nothing
_MOST = 100_000  # paths kept; with more, the whole folder is looked through


def need_watchfiles() -> None:
    """Raise MissingExtra if the package is not installed, without importing it."""
    if find_spec("watchfiles") is None:
        raise MissingExtra(
            "golem watch needs the package watchfiles: pip install 'golem-chain[watch]', or run golem watch --once "
            "from time to time, which does without."
        )


class Changes:
    """The paths below a folder that have changed. One thread at a time."""

    def __init__(self, folder: Path, *, poll: bool) -> None:
        """`poll`: the file system reports nothing."""
        self._folder, self._poll = folder, poll
        self._lock, self._heard = threading.Lock(), threading.Event()
        self._paths: set[str] = set()
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self.broken: str | None = None  # why nothing is heard any more

    def start(self) -> None:
        """Listen, anew if need be: a folder that came back is another one for the kernel."""
        self.close()
        self.broken, self._stop = None, threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(self._stop,), name="changes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        if self._stop and self._thread:
            self._stop.set()
            self._thread.join(_STOP_MS * 4 / 1000)
        self._stop = self._thread = None

    def wait(self, timeout_s: float) -> None:
        """Wait until something has changed, or the time is over."""
        self._heard.wait(timeout_s)

    def take(self) -> set[str] | None:
        """Return the paths that have changed since the last call; None if there were too many to keep."""
        with self._lock:
            self._heard.clear()
            taken, self._paths = self._paths, set()
        return None if len(taken) >= _MOST else taken

    def _listen(self, stop: threading.Event) -> None:
        try:
            try:
                self._hear(stop, lenient=False)
            except PermissionError:  # of a folder below, which is skipped
                self._hear(stop, lenient=True)
        except (OSError, RuntimeError) as exc:  # too many watches, or the folder is gone
            self.broken = str(exc) or type(exc).__name__

    def _hear(self, stop: threading.Event, *, lenient: bool) -> None:
        """Keep what is heard until told to stop. `lenient` passes over every error, also that nothing can be heard."""
        from watchfiles import watch

        heard = watch(
            self._folder, watch_filter=None, debounce=_GATHER_MS, rust_timeout=_STOP_MS, stop_event=stop,
            raise_interrupt=False, force_polling=True if self._poll else None, poll_delay_ms=_POLL_MS,
            ignore_permission_denied=lenient,
        )  # fmt: skip
        for changes in heard:
            with self._lock:
                if len(self._paths) < _MOST:
                    self._paths |= {path for _, path in changes}
                self._heard.set()
