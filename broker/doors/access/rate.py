"""Rates: token buckets, one for each name, in a table that cannot grow."""

import ipaddress
from collections import OrderedDict
from typing import NamedTuple

from golem_chain.broker.doors.access import limits


class Taken(NamedTuple):
    """What is left after a request has asked for a token."""

    tokens: float
    wait_s: float  # until there is one; 0: the request got its own


def take(tokens: float, since_s: float, most: float, per_s: float) -> Taken:
    """Take a token from a bucket that held `tokens` `since_s` seconds ago, holds `most` and is filled by `per_s`."""
    tokens = min(most, tokens + max(0.0, since_s) * per_s)
    return Taken(tokens - 1, 0.0) if tokens >= 1 else Taken(tokens, (1 - tokens) / per_s)


class Buckets:
    """The buckets of names. Of more than `names` the one that was used least recently is forgotten, so it is full
    again: a limit for one name, and none for a crowd."""

    def __init__(self, names: int = limits.NAMES) -> None:
        self._most, self._known = names, OrderedDict[str, tuple[float, float]]()

    def __len__(self) -> int:
        return len(self._known)

    def take(self, name: str, now: float, most: float, per_s: float) -> Taken:
        """Take a token of this name's. `now`: seconds of a clock that never goes back."""
        tokens, at = self._known.pop(name, (most, now))
        taken = take(tokens, now - at, most, per_s)
        self._known[name] = taken.tokens, now
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return taken


def place_of(address: str) -> str:
    """Return what a rate is counted for: an IPv4 address, or the /64 of an IPv6 address, which one host has whole.
    What is no address is all one place."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "elsewhere"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found.packed, 64), strict=False))
    return str(found)
