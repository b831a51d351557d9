"""Clients of OpenAI's API in one event loop: plain sockets, because a library would take more time than the server."""

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

BOUNDARY = "golem-bench"


class Timed(NamedTuple):
    """The times of one request from its first byte, seconds, and its status."""

    first_s: float  # until the first byte of the answer
    whole_s: float
    status: int


def request(audio: bytes, name: str, *, stream: bool) -> bytes:
    """Return the bytes of a transcription request."""
    fields = {"model": "whisper-1", "stream": "true" if stream else "false", "prompt": name}
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}.wav"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + audio + f"\r\n--{BOUNDARY}--\r\n".encode()
    return (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def ask(port: int, sent: bytes) -> Timed:
    """Send a request over a connection of its own, and read the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    writer.write(sent)
    first = await reader.readline()
    first_s = time.perf_counter() - began
    rest = await reader.read()
    whole_s = time.perf_counter() - began
    writer.close()
    status = int(first.split()[1])
    return Timed(first_s, whole_s, status if b"transcript.text.done" in rest or status != 200 else 0)


def resident_bytes(pid: int) -> int:
    """Return the resident set of a process (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0
