"""A socket with one deadline for all that is sent and received, and a limit for what is received.

The timeout of a socket applies to each call anew: a receiver that sends a byte every few seconds never exceeds it.
"""

import http.client
import io
import socket
import time
from typing import Any

#: Bytes of an answer that are read at most: its status and headers, and what came with them.
ANSWER_MOST = 64 * 1024


def left_s(ends_at: float) -> float:
    """Return the seconds until a moment of `time.monotonic`. Raises TimeoutError if it is past."""
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class DeadlineSocket:
    """What `http.client` needs of a socket. All but `close` raise TimeoutError past `ends_at`, by `time.monotonic`."""

    def __init__(self, sock: socket.socket, ends_at: float) -> None:
        self._sock, self._ends_at = sock, ends_at

    @property
    def ends_at(self) -> float:
        """The deadline."""
        return self._ends_at

    def hurry(self, within_s: float) -> None:
        """Move the deadline to at most so many seconds from now."""
        self._ends_at = min(self._ends_at, time.monotonic() + within_s)

    def sendall(self, data: bytes) -> None:
        """Send everything. Raises OSError."""
        rest = memoryview(data)
        while rest:
            self._sock.settimeout(left_s(self._ends_at))
            rest = rest[self._sock.send(rest) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a file that reads what is received, up to ANSWER_MOST. It raises OSError, HTTPException."""
        assert mode == "rb", mode
        return io.BufferedReader(_Received(self._sock, self))

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


class _Received(io.RawIOBase):
    def __init__(self, sock: socket.socket, whole: DeadlineSocket) -> None:
        self._sock, self._whole, self._room = sock, whole, ANSWER_MOST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._room:
            raise http.client.HTTPException(f"More than {ANSWER_MOST} bytes.")
        self._sock.settimeout(left_s(self._whole.ends_at))
        count = self._sock.recv_into(buffer, min(len(buffer), self._room))
        self._room -= count
        return count
