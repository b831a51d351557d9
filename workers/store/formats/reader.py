"""A cursor over untrusted bytes: checks every read against the remaining bytes before allocating memory."""

import mmap
import struct
from pathlib import Path

from golem_chain.shared.errors import ModelCorrupt


class Reader:
    """Reads little-endian values from `data` in order. Every method raises ModelCorrupt at the end of the data."""

    def __init__(self, data: bytes | bytearray | mmap.mmap, name: str) -> None:
        self.data = data
        self.name = name
        self.at = 0
        self.size = len(data)

    def corrupt(self, why: str) -> ModelCorrupt:
        """An error to raise, naming the file and the position."""
        return ModelCorrupt(f"{self.name} cannot be read as a model: {why} (byte {self.at} of {self.size}).")

    def skip(self, count: int) -> int:
        """Skip `count` bytes and return the offset at which they start."""
        if count < 0 or count > self.size - self.at:
            raise self.corrupt(f"{count} bytes were expected but only {self.size - self.at} are left")
        start = self.at
        self.at += count
        return start

    def take(self, count: int) -> bytes:
        """A copy of the next `count` bytes."""
        start = self.skip(count)
        return bytes(self.data[start : start + count])

    def number(self, code: str) -> int:
        """An integer of `struct` code B, b, H, h, I, i, Q or q."""
        return int(struct.unpack("<" + code, self.take(struct.calcsize(code)))[0])

    def real(self, code: str) -> float:
        """A number of `struct` code f or d."""
        return float(struct.unpack("<" + code, self.take(struct.calcsize(code)))[0])

    def text(self, length_code: str) -> str:
        """UTF-8 text preceded by its length, without trailing NULs."""
        raw = self.take(self.number(length_code))
        try:
            return raw.rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError:
            raise self.corrupt("a name is not UTF-8") from None


def map_file(path: Path) -> mmap.mmap:
    """Map a file privately: writes do not change the file. Raises ModelCorrupt if it is empty."""
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        except ValueError:
            raise ModelCorrupt(f"{path.name} cannot be read as a model: it is empty.") from None
