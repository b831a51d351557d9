"""A storm over a running system: boxes and their server are killed at seeded moments while jobs go through them.

Boxes are started again under their names as soon as they are dead, as a service manager does it.
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

import redis
from road import descendants

from broker.outcomes import CHANNEL
from broker.pipeline import Pipeline
from shared.errors import BrokerAway
from shared.settings import Settings

HERE = Path(__file__).parent
KINDS = ("child", "parent", "group", "sleep")
ASLEEP_S = 6.5  # longer than the lease
LEASE_S = 5


def text_of(n):
    """What the n-th job says: mostly words, now and then something that ends early or fails."""
    return {3: b"silence", 7: b"bad", 11: b"confuse me", 13: b"..."}.get(n % 20, f"turn on lamp {n}".encode())


def answer(outcome):
    """What must not depend on the weather: all but times, seats in a batch and the box."""
    error = outcome.error and (outcome.error.code, outcome.error.message)
    intent = outcome.intent and outcome.intent.model_dump()
    return outcome.name, outcome.state, error, outcome.transcript, intent, outcome.reply, tuple(outcome.stages)


class Storm:
    """Boxes on a server, a producer, and a listener that counts the ends of jobs."""

    def __init__(self, server, folder, boxes, run_s=0.02):
        self.server, self.folder, self.run_s = server, folder, run_s
        given = {"lease_s": LEASE_S, "max_deliveries": 50, "keep_s": 3600}  # a job may be hit by many kills
        self.settings = Settings.read(_env_file=None, redis_url=server.url, **given)
        self.env = {f"GOLEM_{key.upper()}": str(value) for key, value in given.items()}
        self.boxes = {f"box{n}": self.start(f"box{n}") for n in range(boxes)}
        self.ended, self.killed, self.gaps = Counter(), Counter(), []
        self._over = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def start(self, name):
        path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
        env = os.environ | self.env | {"GOLEM_REDIS_URL": self.server.url, "RUN_S": str(self.run_s)}
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(HERE / "chain_worker.py"), name],
                env=env | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _listen(self):
        """Count the announcements; one that falls into the server's absence is not heard."""
        while not self._over.is_set():
            try:
                with redis.Redis.from_url(self.server.url) as client, client.pubsub() as heard:
                    heard.subscribe(CHANNEL)
                    last = time.monotonic()
                    while not self._over.is_set():
                        if (message := heard.get_message(timeout=0.2)) and message["type"] == "message":
                            self.ended[message["data"].decode()] += 1
                            self.gaps.append(time.monotonic() - last)
                            last = time.monotonic()
            except redis.RedisError:
                time.sleep(0.05)

    def submit(self, jobs, pause_s=0.0):
        """Hand in the jobs, each again under its id until Redis has taken it."""
        with Pipeline(self.settings) as pipeline:
            for n in jobs:
                while True:
                    try:
                        pipeline.submit(text_of(n), id=f"storm-{n}", name=f"{n}.wav", labels="lamp,door")
                        break
                    except BrokerAway:
                        time.sleep(0.1)
                time.sleep(pause_s)

    def rage(self, kills, seed, server_kills=1):
        """Kill at random moments, each kind as often as the others; the server in the middle."""
        fate = random.Random(seed)
        plan = [KINDS[n % len(KINDS)] for n in range(kills)]
        fate.shuffle(plan)
        for n in range(server_kills):
            plan.insert((n + 1) * len(plan) // (server_kills + 1), "server")
        for kind in plan:
            time.sleep(fate.uniform(0.1, 1.0))
            self.strike(kind, fate.choice(sorted(self.boxes)))
            self.killed[kind] += 1

    def strike(self, kind, name):
        box = self.boxes[name]
        if kind == "server":
            self.server.kill()
            time.sleep(0.5)
            self.server.restart()
        elif kind == "child":
            for child in descendants(box.pid):
                os.kill(child, signal.SIGKILL)
        elif kind == "sleep":  # longer than the lease: others take over meanwhile, and it wakes up
            os.killpg(box.pid, signal.SIGSTOP)
            threading.Timer(ASLEEP_S, _wake, (box.pid,)).start()
        else:
            (os.killpg if kind == "group" else os.kill)(box.pid, signal.SIGKILL)
        self.mend()

    def mend(self):
        """Start again what is dead."""
        for name, box in self.boxes.items():
            if box.poll() is not None:
                self.boxes[name] = self.start(name)

    def outcomes(self, jobs, within_s):
        """The answers by job number; fails where one is missing."""
        ids = {f"storm-{n}": n for n in jobs}
        with Pipeline(self.settings) as pipeline:
            end, found = time.monotonic() + within_s, {}
            while len(found) < len(ids) and time.monotonic() < end:
                self.mend()
                left = [job for job, n in ids.items() if n not in found]
                found |= {ids[one.job]: answer(one) for one in pipeline.wait(left, 1.0)}
        assert len(found) == len(ids), f"lost: {sorted(set(ids.values()) - set(found))}\n{self.said()}"
        return found

    def said(self):
        return "\n".join((self.folder / f"{name}.log").read_text()[-3000:] for name in self.boxes)

    def stop(self):
        self._over.set()
        self._listener.join()
        for box in self.boxes.values():
            with suppress(ProcessLookupError):
                os.killpg(box.pid, signal.SIGKILL)
            box.wait()


def _wake(pid):
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGCONT)
