"""A worker's log: written to a file of bounded size, its last line remembered."""

import logging
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

MOST_BYTES = 8 << 20  # of the file; one older file is kept beside it
_LINE_BYTES = 4096  # a longer line is cut into several


class WorkerLog:
    """The log of one worker after the other."""

    def __init__(self, path: Path) -> None:
        self.path, self.last = path, ""
        self._file = RotatingFileHandler(path, maxBytes=MOST_BYTES, backupCount=1, encoding="utf-8", errors="replace")

    def follow(self, stream: IO[bytes]) -> threading.Thread:
        """Write what comes through a pipe, in a thread, until its end. The thread closes the pipe."""

        def read() -> None:
            with stream:
                while line := stream.readline(_LINE_BYTES):
                    self._write(line.decode(errors="replace").rstrip("\n"))

        thread = threading.Thread(target=read, name="worker log", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: str) -> None:
        if line.strip():
            self.last = line
        self._file.emit(logging.LogRecord("worker", logging.INFO, "", 0, line, None, None))
