"""Fault injection at seeded moments: signals, network failures, a server that restarts or refuses writes.

Dead boxes are restarted under their names at once, as a service manager does. Each box has its own proxy to the server
and a clock that is an hour off.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from tests.support.fleet import descendants
from tests.support.paths import python_path
from tests.support.wire import Wire

CLOCK = Path(__file__).with_name("clock")  # its sitecustomize shifts a box's clock
#: Faults of a box or its network.
BOX_KINDS = ("child", "parent", "group", "sleep", "cut", "dark")
#: All faults, but for `server`, which strikes seldom.
KINDS = (*BOX_KINDS, "slow", "read-only", "full", "hostile")
TOLD = {
    "child": "child process, SIGKILL",
    "parent": "parent process, SIGKILL",
    "group": "whole process group, SIGKILL",
    "sleep": "whole box, SIGSTOP for 6.5 s (lease 5 s)",
    "cut": "network of a box, connections reset, down for 2 s",
    "dark": "network of a box, no data for 6.5 s (lease 5 s)",
    "slow": "network of a box, 200 ms more each way for 6 s",
    "read-only": "Redis, read-only for 2 s, as in a failover",
    "full": "Redis, no memory for writes for 2 s",
    "hostile": "100 hostile messages in the queues",
    "server": "Redis, SIGKILL and restart from its append-only file",
}
LEASE_S = 5
ASLEEP_S = 6.5  # longer than the lease
CUT_S = 2.0
SLOW_S, DELAY_S = 6.0, 0.2  # for how long, and how late the data are
REFUSED_S = 2.0  # the server takes no writes
SKEW_S = 3600  # seconds: every second clock is ahead by this, the others are behind


class FaultInjector:
    """Boxes on a server, and the faults injected into them. `program`: the module that a box runs; `words`: its
    arguments; `spaces`: network namespaces of boxes by name."""

    def __init__(self, server, folder, boxes, program, words=(), skew_s=SKEW_S, spaces=None, **env):
        self.server, self.folder, self.program, self.words = server, folder, program, words
        self.env, self.skew_s, self.spaces = env, skew_s, spaces or {}
        self.killed: Counter[str] = Counter()
        self.over = threading.Event()
        self.wires: dict[str, Any] = {}
        self.boxes = {f"box{n}": self.start(f"box{n}") for n in range(boxes)}

    def start(self, name):
        space = self.spaces.get(name)
        if name not in self.wires:
            self.wires[name] = Wire(self.server.url, *([space.host] if space else []))
        url = self.wires[name].url
        env = os.environ | self.env | {"GOLEM_REDIS_URL": url, "OMP_NUM_THREADS": "1"}
        env |= {
            "PYTHONPATH": python_path(CLOCK),
            "CLOCK_SKEW_S": str(self.skew_s * (-1) ** list(self.wires).index(name)),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            words = [word.format(url=url, name=name) for word in self.words]
            return subprocess.Popen(
                [*(space.prefix if space else ()), sys.executable, "-m", self.program, *words],
                env=env,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def rage(self, kills, seed, server_kills=1, say=None, kinds=BOX_KINDS):
        """Inject faults at random moments, each kind equally often, with server faults in between. Of fewer faults than
        kinds the seed chooses some."""
        fate = random.Random(seed)
        plan = [kinds[(seed + n) % len(kinds)] for n in range(kills)]
        fate.shuffle(plan)
        for n in range(server_kills):
            plan.insert((n + 1) * len(plan) // (server_kills + 1), "server")
        for done, kind in enumerate(plan, start=1):
            time.sleep(fate.uniform(0.1, 1.0))
            self.strike(kind, fate.choice(sorted(self.boxes)))
            self.killed[kind] += 1
            if say and done % 10 == 0:
                say(f"{done} of {len(plan)} strikes")

    def strike(self, kind, name):
        box, wire = self.boxes[name], self.wires[name]
        if kind == "server":
            self.server.kill()
            time.sleep(0.5)  # downtime
            self.server.restart()
        elif kind == "child":
            with suppress(FileNotFoundError):
                for child in descendants(box.pid):
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
        elif kind == "sleep":  # others take over before it resumes
            self._later(ASLEEP_S, os.killpg, box.pid, signal.SIGCONT, now=signal.SIGSTOP)
        elif kind in ("cut", "dark"):
            getattr(wire, kind)()
            self._later(CUT_S if kind == "cut" else ASLEEP_S, wire.mend)
        elif kind == "slow":
            wire.slow(DELAY_S)
            self._later(SLOW_S, wire.mend)
        elif kind == "read-only":
            self._tell("REPLICAOF", "127.0.0.1", "1")
            self._later(REFUSED_S, self._tell, "REPLICAOF", "NO", "ONE")
        elif kind == "full":
            self._tell("CONFIG", "SET", "maxmemory", "100kb")
            self._later(REFUSED_S, self._tell, "CONFIG", "SET", "maxmemory", "0")
        elif kind == "hostile":
            self.forge()
        else:
            with suppress(ProcessLookupError):
                (os.killpg if kind == "group" else os.kill)(box.pid, signal.SIGKILL)
        self.mend()

    def forge(self):
        """Push hostile messages. Only who knows the jobs can."""
        raise NotImplementedError

    def _tell(self, *command):
        """Send the server a command, also if it restarts or refuses writes just now."""
        refused = (redis.ConnectionError, redis.exceptions.ReadOnlyError, redis.exceptions.OutOfMemoryError)
        for _ in range(100):
            with suppress(*refused), redis.Redis.from_url(self.server.url) as client:
                client.execute_command(*command)
                return
            if self.over.wait(0.1):  # before the next attempt
                return
        raise AssertionError(f"the server takes no {command[0]}")

    def _later(self, after_s, call, *args, now=None):
        def go():
            if self.over.is_set():
                return
            with suppress(ProcessLookupError):
                call(*args)

        if now is not None:
            with suppress(ProcessLookupError):
                call(args[0], now)
        timer = threading.Timer(after_s, go)
        timer.daemon = True
        timer.start()

    def mend(self):
        """Restart dead boxes."""
        for name, box in self.boxes.items():
            if box.poll() is not None:
                self.boxes[name] = self.start(name)

    def said(self):
        return "\n".join((self.folder / f"{name}.log").read_text()[-3000:] for name in self.boxes)

    def stop(self):
        self.over.set()
        for box in self.boxes.values():
            with suppress(ProcessLookupError):
                os.killpg(box.pid, signal.SIGKILL)
            box.wait()
        for wire in self.wires.values():
            wire.close()
