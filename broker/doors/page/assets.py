"""The page's files: read once from the package, each with its type, its ETag and its compressed form."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

#: The types of all files of the page. A file of another kind is not served.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Asset:
    """A file as it is served."""

    type: str
    etag: str  # of the content, quoted as in the header
    data: bytes = field(repr=False)
    gzipped: bytes = field(repr=False)


@cache
def assets() -> Mapping[str, Asset]:
    """Return the files by their path below static/, such as `js/main.js`. Reads them when it is called first."""
    folder = Path(__file__).parent / "static"
    found = sorted(path for path in folder.rglob("*") if path.suffix in TYPES)
    return {path.relative_to(folder).as_posix(): _read(path) for path in found}


def _read(path: Path) -> Asset:
    data = path.read_bytes()
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    return Asset(TYPES[path.suffix], etag, data, gzip.compress(data, 9, mtime=0))
