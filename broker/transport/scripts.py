"""Loads the Lua scripts, the operations that Redis runs atomically, one per file in `lua/*.lua`.

The header of a file gives its purpose, its keys and arguments in order, and what it reads, writes and returns. A line
`-- include: _claims` inserts a file of shared functions, from the same folder or from the transport's. All times come
from the server (`TIME`), so that boxes with different clocks agree on when a lease expires. The keys are those of
`broker.keys`.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

#: Maximum number of dead letters. Dropped letters are logged; their jobs keep their Outcomes.
DEAD_MOST = 1000
#: Lifetime of a claim on a queue, seconds. A worker renews its claims at each peek and every second.
HOLD_S = 3

_CONSTANTS = f"local DEAD_MOST, HOLD_S = {DEAD_MOST}, {HOLD_S}\n"
_INCLUDE = re.compile(r"^-- include: (.+)$", re.MULTILINE)


@cache
def load(name: str, package: str = __package__) -> str:
    """Return the text of a package's `lua/<name>.lua` with its includes, without comment lines: it is sent to Redis."""
    text = _read(name, package)
    names = [one.strip() for found in _INCLUDE.findall(text) for one in found.split(",")]
    includes = [_read(name, package if _has(name, package) else __package__) for name in names]
    lines = [line for part in (*includes, text) for line in part.splitlines() if not line.startswith("--")]
    return (_CONSTANTS if includes else "") + "\n".join(lines) + "\n"


def _has(name: str, package: str) -> bool:
    return (files(package) / "lua" / f"{name}.lua").is_file()


def _read(name: str, package: str) -> str:
    return (files(package) / "lua" / f"{name}.lua").read_text(encoding="utf-8")


#: The scripts that a producer or a door runs, and where they are.
PRODUCERS = (
    "register", "reserve", "submit", "promote", "forget", "end", "cancel_group", "append", "claim", "discard", "update",
    "retry",
)  # fmt: skip
_JOBS = "golem_chain.broker.jobs"


def library() -> str:
    """Return the producers' scripts as a library of Redis functions, for `FUNCTION LOAD`. Its name and those of its
    functions contain a hash of the text, so that several versions can be loaded side by side."""
    name = _library_name()
    functions = [
        f"redis.register_function('{name}_{one}', function(KEYS, ARGV)\n{load(one, _JOBS)}end)\n" for one in PRODUCERS
    ]
    return f"#!lua name={name}\n{''.join(functions)}"


def _library_name() -> str:
    text = "".join(load(one, _JOBS) for one in PRODUCERS)
    return f"golem_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class Script:
    """A script of `broker.jobs` on one server: sent by its hash, or, where the Redis user may run no scripts, called as
    a function of the library."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client, self._sent, self._name = client, client.register_script(load(name, _JOBS)), name
        self._may_send = True

    def __call__(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run the script and return its answer. Raises redis.RedisError."""
        if self._may_send:
            try:
                return self._sent(keys=keys, args=args)
            except NoPermissionError as exc:
                if "'evalsha'" not in str(exc) or self._name not in PRODUCERS:
                    raise
                self._may_send = False
        return self._client.fcall(self._function, len(keys), *keys, *args)

    def all(self, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run the script for each pair of keys and arguments, all but the first in one round trip. Returns the answers,
        a redis.ResponseError in the place of one that failed. Raises redis.RedisError if the connection fails."""
        if not calls:
            return []
        found: list[Any] = [self._single(*calls[0])]  # it also loads the script, or finds out that it is a function
        with self._client.pipeline(transaction=False) as pipe:
            for keys, args in calls[1:]:
                if self._may_send:
                    pipe.evalsha(self._sent.sha, len(keys), *keys, *args)
                else:
                    pipe.fcall(self._function, len(keys), *keys, *args)
            found += pipe.execute(raise_on_error=False)
        pairs = zip(calls, found, strict=True)  # a server that was restarted in between has lost the script
        return [self._single(*call) if isinstance(answer, NoScriptError) else answer for call, answer in pairs]

    def _single(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return self(keys, args)
        except ResponseError as exc:
            return exc

    @property
    def _function(self) -> str:
        return f"{_library_name()}_{self._name}"


PEEK = load("peek")
TAKE = load("take")
WAKE = load("wake")
RESTORE = load("restore")
EXPIRED = load("expired")
RENEW = load("renew")
STRIKE = load("strike")
BURY = load("bury")
CLAIM_NAME = load("claim_name")
RELEASE_NAME = load("release_name")
AGREE = load("agree")
UPGRADE_AUDIO = load("upgrade_audio")
UPGRADE_QUEUE = load("upgrade_queue")
UPGRADE_HELD = load("upgrade_held")
