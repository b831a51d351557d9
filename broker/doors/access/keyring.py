"""The keys that a server accepts, and whose they are; a file of keys is read again when it changes."""

import hmac
import logging
from pathlib import Path

from golem_chain.broker.doors.access import keys
from golem_chain.broker.doors.access.keys import Key
from golem_chain.broker.doors.door import Caller, Limits
from golem_chain.shared.errors import BadSetting
from golem_chain.shared.settings import Settings

logger = logging.getLogger(__name__)

#: How often a file is looked at, seconds: a key that was removed opens for this long at most.
LOOK_S = 1.0
#: Longer than any key; a longer one is not hashed.
_TOKEN_MOST = 512


class KeyRing:
    """Who holds which key. `refresh` blocks, the rest does not."""

    def __init__(self, found: tuple[Key, ...], path: Path | None = None) -> None:
        self._path, self._stamp, self._looked_at = path, _stamp(path), 0.0
        self._hold(found)

    @classmethod
    def of(cls, settings: Settings) -> "KeyRing | None":
        """Read the keys of GOLEM_API_KEYS; None if it is not set. Raises BadSetting if they cannot be used."""
        path = keys.file_of(settings.api_keys)
        if path is not None and keys.is_exposed(path):
            logger.warning("Other users can read or write %s: chmod 600 it.", path)
        return cls(check(settings), path) if settings.api_keys else None

    def caller_of(self, token: str) -> Caller | None:
        """Return whose key this is. Takes as long for a wrong key as for the right one, whichever it is."""
        if not token or len(token) > _TOKEN_MOST:
            return None
        given, found = keys.hash_of(token), None
        for sha256, caller in self._callers:
            if hmac.compare_digest(given, sha256):
                found = caller
        return found

    def due(self, now: float) -> bool:
        """Whether it is time to look at the file. Only one is told so each time. `now`: of a monotonic clock."""
        due = self._path is not None and now - self._looked_at >= LOOK_S
        if due:
            self._looked_at = now
        return due

    def refresh(self) -> None:
        """Read the file if it has changed. One that is wrong, or gone, changes nothing, and is logged once."""
        stamp = _stamp(self._path)
        if self._path is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            found = keys.of_file(self._path)
        except BadSetting as exc:
            logger.error("The API keys stay as they were: %s", exc.message)
        else:
            self._hold(found)
            logger.info("Read %d API keys from %s.", len(found), self._path)

    def _hold(self, found: tuple[Key, ...]) -> None:
        self._callers = tuple((key.sha256, _caller(key)) for key in found)


def check(settings: Settings) -> tuple[Key, ...]:
    """Return the keys of GOLEM_API_KEYS. Raises BadSetting if they cannot be used, or there is none where it is set."""
    path = keys.file_of(settings.api_keys)
    found = keys.of_file(path) if path is not None else keys.of_setting(settings.api_keys or "")
    if settings.api_keys and not found:
        raise BadSetting(f"{path or 'GOLEM_API_KEYS'} holds no key: golem keys add NAME makes one.")
    return found


def _caller(key: Key) -> Caller:
    return Caller(key.name, key.owner, key.operator, Limits(key.requests_per_min, key.upload, key.queued))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes whenever a file does, and None if it is not there."""
    if path is None:
        return None
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino
