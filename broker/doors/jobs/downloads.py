"""Files for download: their types and names.

The name of a job is text of a stranger: what is sent of it cannot leave its header or name a folder (RFC 6266).
"""

import re
import unicodedata
from typing import Final
from urllib.parse import quote

#: The forms of a result and their media types.
MEDIA_TYPES: Final = {
    "json": "application/json",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "txt": "text/plain",
    "tsv": "text/tab-separated-values",
}
#: Longest name without its ending, characters.
_NAME_MOST = 100
#: An ending that is dropped, as of `clip.wav`.
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,5}$")


def disposition(name: str, ending: str) -> str:
    """Return the header Content-Disposition for the result of a job with this name. Pure."""
    stem = _ENDING.sub("", re.split(r"[/\\]", name)[-1])
    stem = "".join(letter if unicodedata.category(letter)[0] in "LMNPSZ" else "_" for letter in stem)
    stem = stem.strip(" .")[:_NAME_MOST] or "result"
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9 _().-]", "_", plain).strip(" .") or "result"
    header = f'attachment; filename="{plain}.{ending}"'
    return header if plain == stem else f"{header}; filename*=UTF-8''{quote(f'{stem}.{ending}', safe='')}"
