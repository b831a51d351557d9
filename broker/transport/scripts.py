"""Loads the Lua scripts: what happens inside Redis in one step stands in `lua/*.lua`, one file each.

A file begins with what it is for, its keys and arguments in order, what it reads, writes and returns. A line
`-- include: _claims` puts a file of shared functions before it. Times are the server's (`TIME`), so that boxes whose
clocks differ agree on when a lease is over. Keys are those of `broker.keys`.
"""

import re
from importlib.resources import files

#: How many dead letters are kept. What falls out is logged; the job of a letter has its Outcome, and keeps it.
DEAD_MOST = 1000
#: How long what a box says that it holds is believed, seconds. It says it whenever it looks, and every second.
HOLD_S = 3

#: What stands in a message's headers until the server's time takes its place.
SENT_AT_MARK = "@the server's time@"

_CONSTANTS = f"local DEAD_MOST, HOLD_S = {DEAD_MOST}, {HOLD_S}\n"
_INCLUDE = re.compile(r"^-- include: (.+)$", re.MULTILINE)


def load(name: str, package: str = __package__) -> str:
    """The text of `lua/<name>.lua` of a package, with what it includes and without comments: it crosses the wire."""
    text = _read(name, package)
    includes = [_read(one.strip(), package) for found in _INCLUDE.findall(text) for one in found.split(",")]
    lines = [line for part in (*includes, text) for line in part.splitlines() if not line.startswith("--")]
    return (_CONSTANTS if includes else "") + "\n".join(lines) + "\n"


def _read(name: str, package: str) -> str:
    return (files(package) / "lua" / f"{name}.lua").read_text(encoding="utf-8")


PUSH = load("push")
PEEK = load("peek")
TAKE = load("take")
WAKE = load("wake")
RESTORE = load("restore")
RENEW = load("renew")
EXPIRED = load("expired")
FORGET = load("forget")
CLAIM_NAME = load("claim_name")
RELEASE_NAME = load("release_name")
AGREE = load("agree")
