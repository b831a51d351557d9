"""Loads the Lua scripts, the operations that Redis runs atomically, one per file in `lua/*.lua`.

The header of a file gives its purpose, its keys and arguments in order, and what it reads, writes and returns. A line
`-- include: _claims` inserts a file of shared functions, from the same folder or from the transport's. All times come
from the server (`TIME`), so that boxes with different clocks agree on when a lease expires. The keys are those of
`broker.keys`.
"""

import re
from importlib.resources import files

#: Maximum number of dead letters. Dropped letters are logged; their jobs keep their Outcomes.
DEAD_MOST = 1000
#: Lifetime of a claim on a queue, seconds. A worker renews its claims at each peek and every second.
HOLD_S = 3

_CONSTANTS = f"local DEAD_MOST, HOLD_S = {DEAD_MOST}, {HOLD_S}\n"
_INCLUDE = re.compile(r"^-- include: (.+)$", re.MULTILINE)


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
UPGRADE_QUEUE = load("upgrade_queue")
UPGRADE_HELD = load("upgrade_held")
