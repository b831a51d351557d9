"""Resolves a host name within a time limit, which `getaddrinfo` does not have."""

import queue
import socket
import threading

#: Look-ups under way at most. One that hangs goes on until the system gives it up, up to half a minute later.
_LOOKUPS = threading.BoundedSemaphore(128)


def resolve(host: str, port: int, timeout_s: float) -> list[str]:
    """Return the addresses of a host in the system's order. Raises OSError, TimeoutError among them."""
    if not _LOOKUPS.acquire(timeout=timeout_s):
        raise TimeoutError
    found: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def look() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            found.put(list(dict.fromkeys(str(info[4][0]) for info in infos)))
        except (OSError, UnicodeError) as exc:
            found.put(exc if isinstance(exc, OSError) else OSError("not a host name"))
        finally:
            _LOOKUPS.release()

    threading.Thread(target=look, daemon=True, name="resolve").start()  # daemon: a stop does not wait for it
    try:
        answer = found.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer
