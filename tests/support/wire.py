"""Network faults: a TCP proxy between one box and its server, or a network namespace with its own address.

box ──► wire ──► server        cut: resets, no new connections       dark: silence, bytes are held back
                               forget: only the server sees the connections end
                               slow: bytes arrive later
"""

import os
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from urllib.parse import urlsplit


class Wire:
    """A proxy to the server at `url` for one box, which connects to the proxy's own `url`. It listens on `host`."""

    def __init__(self, url: str, host: str = "127.0.0.1") -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._door = socket.create_server((host, 0))
        port = self._door.getsockname()[1]
        self.url = url.replace(f"@{parts.hostname}:{parts.port}/", f"@{host}:{port}/")
        self._flows = threading.Event()  # cleared: bytes are held back
        self._flows.set()
        self._is_cut = False
        self._delay_s = 0.0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._forgotten: list[socket.socket] = []  # the boxes' sides, whose other side is closed
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True, name="wire").start()

    def cut(self) -> None:
        """Reset all connections, and new ones until `mend`."""
        self._is_cut = True
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for near, far in pairs:
            _reset(near)
            _reset(far)

    def dark(self) -> None:
        """Hold back all bytes, with connections open, until `mend`; then they arrive, as TCP retransmits them."""
        self._flows.clear()

    def forget(self) -> None:
        """Close the server's side of all connections and leave the box's side open, as a router does that lost its
        table."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
            self._forgotten += [near for near, _ in pairs]
        for _, far in pairs:
            _reset(far)

    def slow(self, delay_s: float) -> None:
        """Deliver all bytes `delay_s` seconds later, each way, until `mend`."""
        self._delay_s = delay_s

    def mend(self) -> None:
        """Restore the network."""
        self._is_cut, self._delay_s = False, 0.0
        self._flows.set()

    def close(self) -> None:
        """Close the proxy."""
        self._flows.set()
        self.cut()
        for near in self._forgotten:
            _reset(near)
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return  # closed
            try:
                if self._is_cut:
                    raise ConnectionResetError
                far = socket.create_connection(self._server, 5)
            except OSError:
                _reset(near)
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True, name="wire").start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        late: deque[tuple[float, bytes]] = deque()  # when each is due, by the monotonic clock
        with suppress(OSError, ValueError):  # ValueError: `select` on a socket that was closed
            while True:
                left_s = late[0][0] - time.monotonic() if late else None
                if left_s is not None and (left_s <= 0 or not select.select([source], [], [], left_s)[0]):
                    self._flows.wait()
                    sink.sendall(late.popleft()[1])
                    continue
                data = source.recv(1 << 16)
                if data and not late and not self._delay_s:
                    self._flows.wait()
                    sink.sendall(data)
                elif data:
                    late.append((time.monotonic() + self._delay_s, data))
                else:
                    break
            for _, rest in late:
                sink.sendall(rest)
        with self._lock:
            known = [pair for pair in self._pairs if source in pair]
            self._pairs = [pair for pair in self._pairs if source not in pair]
        for pair in known:  # one side has ended: close the other
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


def _reset(end: socket.socket) -> None:
    """Close a connection with RST."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RD)  # wakes the pump that reads
    end.close()


class Namespace:
    """A network namespace with a link to this one. A command with `prefix` runs inside and reaches us as `host`.

    Raises OSError if this machine does not permit namespaces.
    """

    def __init__(self, number: int) -> None:
        self._name, self._cable = f"golem{os.getpid()}-{number}", f"golem{os.getpid() % 100_000}{number}"
        self.host = f"10.213.{number}.1"
        self.prefix = ["ip", "netns", "exec", self._name]
        if not shutil.which("ip"):
            raise OSError("there is no `ip` (iproute2)")
        try:
            _ip("netns", "add", self._name)
            _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self._name)
            _ip("address", "add", f"{self.host}/24", "dev", self._cable)
            _ip("link", "set", self._cable, "up")
            for words in (f"address add 10.213.{number}.2/24 dev eth0", "link set eth0 up", "link set lo up"):
                _ip("-netns", self._name, *words.split())
        except OSError:
            self.close()
            raise

    def plug(self, state: str) -> None:
        """Set the link `down` or `up`. While it is down, packets are lost silently."""
        _ip("-netns", self._name, "link", "set", "eth0", state)

    def close(self) -> None:
        """Delete the namespace and its link."""
        with suppress(OSError):
            _ip("netns", "delete", self._name)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip())
