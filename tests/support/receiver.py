"""A receiver of webhooks on loopback that behaves as the path of a URL says: well, badly or with malice."""

import socketserver
import ssl
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

SECRET = "whsec_" + "Z29sZW0t" * 6  # 36 bytes


class Request(NamedTuple):
    """What was received in full."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float  # time.monotonic


class Receiver:
    """A server on `host`; `tls`: certificate and key in one file. `requests` has what was received; `plan` maps a path
    to the behaviours of its next requests, after which it answers 204."""

    def __init__(self, host="127.0.0.1", tls=None):
        self.requests: list[Request] = []
        self.connections = 0
        self.open: Counter[str] = Counter()  # by path, and the most at a time
        self.most: Counter[str] = Counter()
        self.plan: dict[str, list[str]] = {}
        self.over = threading.Event()
        self._lock, receiver = threading.Lock(), self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with receiver._lock:
                    receiver.connections += 1
                with suppress(OSError):
                    receiver._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
            request_queue_size = 128

        self._server = Server((host, 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, path, host="127.0.0.1", scheme="http"):
        return f"{scheme}://{host}:{self.port}{path}"

    def of(self, path):
        """Return the requests for a path."""
        return [one for one in self.requests if one.path == path]

    def stop(self):
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, sock):
        sock.settimeout(30)
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := sock.recv(65536)):
                return
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += sock.recv(65536)
        path = first.split()[1]
        with self._lock:
            self.requests.append(Request(path, headers, body, time.monotonic()))
            self.open[path] += 1
            self.most[path] = max(self.most[path], self.open[path])
            does = self.plan.get(path, [])
            behaviour = does.pop(0) if does else "204"
        try:
            self._behave(sock, behaviour)
        finally:
            with self._lock:
                self.open[path] -= 1

    def _behave(self, sock, behaviour):
        kind, _, more = behaviour.partition(" ")
        if kind.isdecimal():  # "503 Retry-After: 7"
            lines = [f"HTTP/1.1 {kind} Said", *([more] if more else []), "Content-Length: 2", "", "ok"]
            sock.sendall("\r\n".join(lines).encode())
        elif kind == "hang":
            self.over.wait(float(more or 60))
        elif kind == "close":
            return
        elif kind == "half":
            sock.sendall(b"HTTP/1.1 20")
        elif kind == "garbage":
            sock.sendall(b"\x00\xffSSH-2.0-OpenSSH\r\n" * 100)
        elif kind == "lie":  # 200, and fewer bytes than it says
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nok")
            self.over.wait(60)
        elif kind == "drip":
            self._drip(sock, b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 10_000)
        elif kind == "flood":  # a body of 1 GB
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            self._pour(sock, b"x" * 1_000_000)
        elif kind == "headers":  # without end
            sock.sendall(b"HTTP/1.1 200 OK\r\n")
            self._pour(sock, b"X-More: " + b"x" * 1000 + b"\r\n")
        elif kind == "continue":  # interim answers without end
            self._pour(sock, b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        elif kind == "work":
            time.sleep(float(more))
            sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            raise AssertionError(behaviour)

    def _drip(self, sock, data):
        for at in range(len(data)):
            sock.sendall(data[at : at + 1])
            if self.over.wait(0.05):
                return

    def _pour(self, sock, data):
        for _ in range(1000):
            sock.sendall(data)
