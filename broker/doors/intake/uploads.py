"""Uploads: audio on its way from a client into the vault."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Upload:
    """A file that came in."""

    name: str  # as the client calls it, without folders
    size_bytes: int
    sha256: str
    data: bytes = field(repr=False)
