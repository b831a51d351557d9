"""Durations as they are typed: `90s`, `10m`, `2h`, `1.5d`."""

import math
import re

from golem_chain.shared.errors import BadRequest

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}


def parse_duration(text: str, option: str) -> float:
    """Return the seconds, more than 0. Raises BadRequest, which names the option, if the text is malformed."""
    parts = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)\s*", text)
    seconds = float(parts[1]) * _UNITS_S[parts[2]] if parts else 0.0
    if not 0 < seconds < math.inf:
        raise BadRequest(f"{option} {text!r} is not a duration: use a value such as 90s, 10m or 2h.")
    return seconds


def age(seconds: float) -> str:
    """Return a time that has passed in its largest unit: `12 s`, `3 min`, `5 h`, `2 d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
