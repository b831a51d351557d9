"""API keys: how they are made, and what is kept of them: a name, a hash, and limits, in a setting or a file.

A key is 256 random bits, so a plain SHA-256 protects it: no dictionary holds it, and 2^255 tries are out of reach at
any speed. A slow, salted hash is for passwords, which people choose.
"""

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from golem_chain.shared.errors import BadRequest, BadSetting
from golem_chain.shared.sizes import parse_bytes
from golem_chain.shared.text import NAME, visible

_PREFIX = "golem_"  # so that a scanner for secrets, and whoever finds one, knows what it is
_HEAD = "# API keys of golem serve: names, SHA-256 hashes and limits. Written by golem keys.\n"
_FILE_MOST = 4 << 20  # bytes; about 20,000 keys


Count = Annotated[int, Field(gt=0)]
Size = Annotated[int, Field(gt=0), BeforeValidator(lambda value: parse_bytes(str(value)))]


class Key(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    sha256: Annotated[str, BeforeValidator(lambda value: str(value).lower()), Field(pattern="^[0-9a-f]{64}$")]
    operator: bool = False
    requests_per_min: Count | None = None
    upload: Size | None = None  # bytes
    queued: Count | None = None

    @property
    def owner(self) -> str:
        """The name under which the key's jobs are listed, 32 hex digits: the same for as long as the key is."""
        return hmac.digest(bytes.fromhex(self.sha256), b"golem serve owner", "sha256").hex()[:32]

    def toml(self) -> str:
        """The key as a table of the file."""
        lines = [f'name = "{self.name}"', f'sha256 = "{self.sha256}"']  # neither can hold a quote
        lines += ["operator = true"] if self.operator else []
        lines += [f"requests_per_min = {self.requests_per_min}"] if self.requests_per_min else []
        lines += [f"upload = {self.upload}  # bytes"] if self.upload else []
        lines += [f"queued = {self.queued}"] if self.queued else []
        return "\n[[key]]\n" + "\n".join(lines) + "\n"


def make() -> str:
    """Return a new key."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """Return what is kept of a key: the SHA-256 of its text, 64 hex digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def file_of(setting: str | None) -> Path | None:
    """Return the file that GOLEM_API_KEYS names, None if it holds the keys itself or is not set."""
    return Path(setting.strip()[1:]).expanduser() if setting and setting.strip().startswith("@") else None


def of_setting(setting: str) -> tuple[Key, ...]:
    """Parse `name=SHA256,name=SHA256`. Raises BadSetting, which repeats none of it."""
    told = "GOLEM_API_KEYS must be @FILE, or NAME=SHA256 separated by commas: golem keys add NAME prints one"
    found = []
    for part in filter(None, (part.strip() for part in re.split(r"[,\s]+", setting))):
        name, equals, sha256 = part.partition("=")
        if not equals:
            raise BadSetting(f"{told}.")
        try:
            found.append(Key(name=name, sha256=sha256))
        except ValidationError as exc:
            what = "is not a SHA-256 of 64 hex digits" if exc.errors()[0]["loc"] == ("sha256",) else "has no valid name"
            raise BadSetting(f"{told}; entry {len(found) + 1} {what}.") from None
    return _distinct(found, "GOLEM_API_KEYS")


def of_file(path: Path) -> tuple[Key, ...]:
    """Read a file of keys. Raises BadSetting naming the file and the table that is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_MOST + 1)
    except OSError as exc:
        raise BadSetting(f"Cannot read {path} of GOLEM_API_KEYS: {exc.strerror}.") from None
    if len(data) > _FILE_MOST:
        raise BadSetting(f"{path} is larger than a file of keys can be: {_FILE_MOST >> 20} MiB.")
    return of_toml(data, str(path))


def of_toml(data: bytes, where: str) -> tuple[Key, ...]:
    """Parse the tables `[[key]]` of a file. Raises BadSetting."""
    try:
        tables = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise BadSetting(f"{where} is not valid TOML: {visible(str(exc), 200)}.") from None
    given = tables.get("key", [])
    if set(tables) - {"key"} or not isinstance(given, list):
        raise BadSetting(f"{where} may hold tables [[key]] only, each with name and sha256.")
    found = []
    for n, table in enumerate(given, start=1):
        try:
            found.append(Key.model_validate(table))
        except ValidationError as exc:
            first = exc.errors(include_input=False)[0]
            field = visible(".".join(str(part) for part in first["loc"]) or "table", 80)
            raise BadSetting(f"{where}, key {n}, {field}: {first['msg'].removeprefix('Value error, ')}.") from None
    return _distinct(found, where)


def _distinct(found: Sequence[Key], where: str) -> tuple[Key, ...]:
    """Raise BadSetting if two keys share a name, or a hash: it would be unclear whose limits count."""
    for what in ("name", "sha256"):
        seen: set[str] = set()
        for key in found:
            if getattr(key, what) in seen:
                raise BadSetting(f"{where} has two keys with the {what} of {key.name}: remove one.")
            seen.add(getattr(key, what))
    return tuple(found)


def is_exposed(path: Path) -> bool:
    """Whether other users of the machine may read or write the file: who writes it makes keys, and who reads it learns
    the owners' names."""
    with suppress(OSError):
        return bool(path.stat().st_mode & 0o077)
    return False


def add(path: Path, key: Key) -> None:
    """Add a key to a file, which is created if need be. Raises BadRequest for a name that is there, BadSetting."""
    with _changing(path) as keys:
        if any(one.name == key.name for one in keys):
            raise BadRequest(f"{path} has a key {key.name} already: remove it first, or choose another name.")
        keys.append(key)


def remove(path: Path, name: str) -> None:
    """Remove a key from a file. Raises BadRequest for an unknown name, BadSetting."""
    with _changing(path) as keys:
        left = [one for one in keys if one.name != name]
        if len(left) == len(keys):
            raise BadRequest(f"{path} has no key {visible(name, 80)}: golem keys list shows the names.")
        keys[:] = left


@contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """Yield the keys of a file to change, and replace the file by them; readers see the old file or the new one."""
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as exc:
        raise BadRequest(f"Cannot use the folder of {path}: {exc.strerror}.") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # released with the descriptor
        keys = list(of_file(path)) if path.exists() else []
        yield keys
        _replace(path, _HEAD + "".join(key.toml() for key in keys))
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    """Replace a file, with the mode and the user of the old one, so that the server can go on reading it."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            if path.exists():
                before = path.stat()
                os.fchmod(file.fileno(), before.st_mode & 0o777)
                with suppress(PermissionError):  # only root may give a file away
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as exc:
        draft.unlink(missing_ok=True)
        raise BadRequest(f"Cannot write {path}: {exc.strerror}.") from None
