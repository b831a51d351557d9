"""Kills a process at its n-th Redis command, and counts the commands of a producer, a worker's parent and its child.

The processes share a board, a file in memory. A test arms it with a role, a moment and a number; a process in which the
hook is installed counts what it sends from then on, and dies with SIGKILL before the n-th command, or after the server
has executed it but before the answer is read. A pipeline counts as its commands, so that a kill can also split it.
"""

import mmap
import os
import select
import signal
import struct
from pathlib import Path

import redis.connection

ROLES = ("producer", "parent", "child")
WHENS = ("before", "after")
ANSWER_S = 2.0  # the longest wait for the answer of a command after which the process dies
_WORD = struct.Struct("q")
_ARMED, _WHEN, _N, _FIRED, _COUNTS = 0, 1, 2, 3, 4  # _ARMED: 0, or 1 + the place in ROLES


class Board:
    """Eight integers that several processes read and write; each has one writer at a time."""

    def __init__(self, path):
        if not Path(path).exists():
            Path(path).write_bytes(bytes(_WORD.size * 8))
        with Path(path).open("r+b") as file:
            self._words = mmap.mmap(file.fileno(), 0)

    def _get(self, place):
        return _WORD.unpack_from(self._words, place * _WORD.size)[0]

    def _put(self, place, value):
        _WORD.pack_into(self._words, place * _WORD.size, value)

    def arm(self, role, when, n):
        """Count from zero, and strike this role at its n-th command."""
        self.disarm()
        for place in (_FIRED, *range(_COUNTS, _COUNTS + len(ROLES))):
            self._put(place, 0)
        self._put(_WHEN, WHENS.index(when))
        self._put(_N, n)
        self._put(_ARMED, 1 + ROLES.index(role))

    def disarm(self):
        """Strike nobody any more."""
        self._put(_ARMED, 0)

    @property
    def fired(self):
        """Whether a process was struck."""
        return bool(self._get(_FIRED))

    def counts(self):
        """Return how many commands each role has sent since the board was armed."""
        return {role: self._get(_COUNTS + place) for place, role in enumerate(ROLES)}

    def due(self, role):
        """Count one command; return when to strike, None: not now."""
        place = ROLES.index(role)
        count = self._get(_COUNTS + place) + 1
        self._put(_COUNTS + place, count)
        if self._get(_ARMED) != 1 + place or count != self._get(_N):
            return None
        self._put(_FIRED, 1)
        return WHENS[self._get(_WHEN)]


def install(board, role_of):
    """Hook into everything that this process and its children send to Redis; `role_of` returns the caller's role."""
    send = redis.connection.AbstractConnection.send_packed_command

    def counted(self, command, check_health=True):
        whole = command.encode() if isinstance(command, str) else b"".join([command] if _is_bytes(command) else command)
        parts = split(whole)
        for n in range(len(parts)):
            if (when := board.due(role_of())) is not None:
                if sent := b"".join(parts[: n + (when == "after")]):
                    send(self, [sent], check_health)
                    select.select([self._sock], [], [], ANSWER_S)  # executed; the answer stays unread
                os.kill(os.getpid(), signal.SIGKILL)
        send(self, [whole], check_health)

    vars(redis.connection)["AbstractConnection"].send_packed_command = counted


def _is_bytes(command):
    return isinstance(command, bytes | bytearray | memoryview)


def split(data):
    """Return the commands in what is sent to Redis, each as its bytes."""
    parts, start = [], 0
    while start < len(data):
        end = data.index(b"\r\n", start)
        at = end + 2
        for _ in range(int(data[start + 1 : end])):
            end = data.index(b"\r\n", at)
            at = end + 2 + int(data[at + 1 : end]) + 2
        parts.append(data[start:at])
        start = at
    return parts
