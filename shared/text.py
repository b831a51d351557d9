"""Makes untrusted text safe to display: a file name must not move the cursor or reverse the line. Names that we choose
ourselves have the form of NAME and are safe as they are."""

import re
import unicodedata

#: The id of a job, and the name of a group, as the fields of `shared/records.py` have them: a regular expression.
NAME = r"[A-Za-z0-9_.-]{1,64}"

#: Control, format (bidi marks among them), surrogate, private use, unassigned, line and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: Halves of surrogate pairs that stand for no byte of a file name.
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def visible(text: str, most: int | None = None) -> str:
    r"""The text on one line, with control and format characters escaped as `\n`, `\x1b` or `\u202e`.

    Text longer than `most` characters is cut in the middle, since the end of a path matters more than its middle.
    """
    shown = "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNSEEN else char for char in text
    )
    if most is None or len(shown) <= most:
        return shown
    head = (most - 1) // 3
    return f"{shown[:head]}…{shown[len(shown) - (most - 1 - head) :]}"


def storable(text: str) -> str:
    r"""The text as valid Unicode: bytes of a file name that are not UTF-8 are escaped as `\xff`, and halves of
    surrogate pairs, which JSON can spell, as `\ud800`."""
    whole = _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    return whole.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
