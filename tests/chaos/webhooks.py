"""The webhooks of a storm: a receiver that sometimes fails, and a deliverer that dies and is started again."""

import json
import os
import subprocess
import sys
import time

from golem_chain.broker.keys import Keys
from tests.support.receiver import SECRET, Receiver

LEASE_S = 5.0
STEPS_S = (0.2, 0.5, 1.0, 2.0, 2.0, 2.0)  # between tries: more than the receiver fails
#: What the receiver does first, by job in turn; then it answers 204.
FAILURES: tuple[list[str], ...] = ([], ["503"], ["close"], ["half", "500"], ["garbage"], ["hang 1"])
READY_S = 30.0

keys = Keys()


class Webhooks:
    """A deliverer as a process, and its receiver."""

    def __init__(self, server, folder):
        self._server, self._folder = server, folder
        self.receiver = Receiver()
        self._process = self._start()

    def _start(self):
        env = os.environ | {"GOLEM_REDIS_URL": self._server.url, "GOLEM_WEBHOOK_SECRET": SECRET}
        env |= {"GOLEM_WEBHOOK_HTTP": "1", "GOLEM_WEBHOOK_PRIVATE": "1"}
        command = [sys.executable, "-m", "tests.support.deliverer", str(LEASE_S), *map(str, STEPS_S)]
        with (self._folder / "deliverer.log").open("ab") as log:
            return subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def url(self, n):
        """Return the URL of the n-th job."""
        if failures := FAILURES[n % len(FAILURES)]:
            self.receiver.plan.setdefault(f"/{n}", list(failures))
        return self.receiver.url(f"/{n}")

    def ready(self, client):
        """Wait until a deliverer has stated its rules, without which no job may have a webhook."""
        end = time.monotonic() + READY_S
        while not client.exists(keys.webhooks_ready):
            assert time.monotonic() < end, (self._folder / "deliverer.log").read_text()[-2000:]
            time.sleep(0.05)

    def kill(self):
        """Kill the deliverer."""
        self._process.kill()

    def mend(self):
        """Start the deliverer again if it has died."""
        if self._process.poll() is not None:
            self._process = self._start()

    def told(self):
        """Return the pairs of job and type that were received."""
        bodies = [json.loads(one.body) for one in list(self.receiver.requests)]
        return [(one["data"]["job"], one["type"]) for one in bodies]

    def left(self, client):
        """Return the keys of messages that are not delivered."""
        names = [keys.webhooks, *client.scan_iter(f"{keys.webhook_prefix}*")]
        return [one for one in names if client.exists(one)] + [keys.outbox] * bool(client.xlen(keys.outbox))

    def stop(self):
        """End both."""
        self._process.kill()
        self._process.wait()
        self.receiver.stop()
