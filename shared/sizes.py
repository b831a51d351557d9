"""Parsing and formatting of byte sizes."""

import re

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}


def parse_bytes(text: str | int) -> int:
    """Parse `4GiB`, `512 MB`, `1.5g` or a plain number into bytes. KiB, MiB… and single letters are powers of 1024,
    kB, MB… powers of 1000. Raises ValueError for anything else."""
    if isinstance(text, int):
        if text < 0:
            raise ValueError(f"{text} is not a size in bytes")
        return text
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
    if not found or found[2].lower() not in _UNITS:
        raise ValueError(f"{text!r} is not a size: write a number with an optional unit, as in 4GiB or 500MB")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def format_bytes(count: float) -> str:
    """Format as `151.2 MB` (powers of 1000), up to four significant digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
