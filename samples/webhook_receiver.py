"""Receives webhooks, verifies them and prints how jobs ended. Needs nothing but Python.

GOLEM_WEBHOOK_SECRET=whsec_… python samples/webhook_receiver.py 8000

It listens on loopback and speaks no TLS: put a proxy in front that does, or let the deliverer of the same machine reach
it with GOLEM_WEBHOOK_HTTP=1 GOLEM_WEBHOOK_PRIVATE=1.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_S = 5 * 60  # how far the time of a message may be off
BODY_MOST = 1 << 20  # bytes
SECRETS = [base64.b64decode(one.removeprefix("whsec_")) for one in os.environ["GOLEM_WEBHOOK_SECRET"].split()]
seen: dict[str, None] = {}  # ids of messages; a real receiver stores them together with what it does


def verified(id: str, timestamp: str, signatures: str, body: bytes) -> bool:
    """Return whether one of the signatures is that of the body as it came, and the time is near."""
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return False
    signed = f"{id}.{timestamp}.".encode() + body
    wanted = [b"v1," + base64.b64encode(hmac.new(one, signed, hashlib.sha256).digest()) for one in SECRETS]
    return any(hmac.compare_digest(given.encode(), one) for given in signatures.split() for one in wanted)


class Handler(BaseHTTPRequestHandler):
    """Answers 204 to a message that is genuine, new or not, and 4xx to all else."""

    timeout = 10  # seconds for a client to send something

    def do_POST(self) -> None:
        """Take one message."""
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_MOST:
            self._answer(413)
            return
        body = self.rfile.read(int(length))
        id, timestamp, signatures = (self.headers.get(f"webhook-{one}", "") for one in ("id", "timestamp", "signature"))
        if not verified(id, timestamp, signatures, body):
            self._answer(401)
            return
        if id not in seen:  # a message can come twice
            seen[id] = None
            told = json.loads(body)
            print(f"{told['type']}: {told['data']['name']} ({told['data']['job']})", flush=True)
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
