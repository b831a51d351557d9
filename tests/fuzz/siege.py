"""`make fuzz`: hostile messages in the queues of a running worker, with other producers' jobs among them.

usage: python -m tests.fuzz.siege [--messages 10000] [--seed 7] [--kind literals]

Each round stops the worker, submits a few jobs, pushes a burst around their messages, lets the worker go on, and checks
what it must not lose: itself, its child, the jobs of others, its bookings, its memory. The n-th round depends only on
seed, kind and n.
"""

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from golem_chain.broker.app import make_app
from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded
from golem_chain.broker.monitoring import delivery, snapshot_reader
from golem_chain.broker.queues import STAGES, job_of
from golem_chain.shared.records import OracleParams
from tests.chaos.storm import answer
from tests.fuzz.hostile import KINDS, Scene, draw
from tests.support.chain import Chain
from tests.support.ends import Ends
from tests.support.fleet import descendants
from tests.support.messages import lane_keys, queue_key

KEYS = Keys()
BURST = 300
OWN, OTHERS = 4, 2  # jobs of the forger and of others in each round
PATIENCE_S = 45.0  # for the ends of a round's jobs, and for empty queues
MOST_BYTES = 300 << 20  # above a process's peak memory after its first job


class Siege:
    """A server and a worker under a flood of messages; `findings` has what must not be, by kind."""

    def __init__(self, folder, seed=7, patience_s=PATIENCE_S, judge_own=False):
        folder.mkdir(parents=True, exist_ok=True)
        self.seed, self.owned, self.patience_s = seed, folder / "owned", patience_s
        self.chain = Chain(embedded.start(folder / "server"), folder, lease_s=5, keep_s=60, stop_s=1)
        self.client: Any = self.chain.client
        self.worker: Any = None
        self.judge_own, self.own_lost = judge_own, 0  # whether the forger's own jobs must end too
        self.findings: list[tuple[str, str]] = []
        self.pushed: Counter[str] = Counter()
        self.rounds = 0
        self.ends = Ends(self.chain.server)
        self.ran: set[tuple[str, str]] = set()
        self._app = make_app(self.chain.settings)
        self._over = threading.Event()
        self.real = self._real()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._begin()
        self.quiet = answer(self._submit(["quiet"]) and self.chain.outcomes(["quiet"])["quiet"])
        self._settled()
        self.usual = self._lasting()

    def _real(self):
        """Return a message as it is sent, while there is no worker yet."""
        self._submit(["real"])
        raw = self.client.rpop(queue_key(STAGES[0]))
        self.chain.pipeline.cancel("real")
        return json.loads(raw)

    def _begin(self):
        """Start the worker and run a job, so that there is a child."""
        self.chain.start_worker()
        self.worker = self.chain.worker
        job = f"warm-{time.monotonic_ns()}"
        self.chain.outcomes(self._submit([job]))
        self.child = self._children()
        self.first_bytes = self._peaks()

    def _submit(self, jobs):
        for job in jobs:
            text = b"turn on the lamp"
            self.chain.pipeline.submit(text, id=job, name="clip.wav", labels="lamp,door", oracle=OracleParams(seed=7))
        return jobs

    def _children(self):
        with suppress(FileNotFoundError):
            return descendants(self.worker.pid)
        return []

    def _peaks(self):
        pids = [self.worker.pid, *self._children()]
        told = [Path(f"/proc/{pid}/status") for pid in pids]
        found = [re.search(r"VmHWM:\s*(\d+) kB", path.read_text()) for path in told if path.exists()]
        return [int(one[1]) << 10 for one in found if one]

    def _listen(self):
        """Note the tasks that workers start, by their events."""
        names: dict[str, str] = {}

        def heard(event):
            if event["type"] == "task-received":
                names[str(event.get("uuid"))] = str(event.get("name"))
            elif event["type"] in ("task-started", "task-succeeded"):
                self.ran.add((names.get(str(event.get("uuid")), ""), str(event.get("uuid"))[:100]))

        while not self._over.is_set():
            with suppress(Exception), self._app.connection_for_read() as connection:
                receiver = self._app.events.Receiver(connection, handlers={"*": heard})
                for _ in receiver.itercapture(limit=None, timeout=0.5, wakeup=False):
                    if self._over.is_set():
                        return

    def _lasting(self):
        found = list(self.client.scan_iter(count=1000))
        with self.client.pipeline(transaction=False) as pipe:
            for key in found:
                pipe.pttl(key)
            return {key for key, left_ms in zip(found, pipe.execute(), strict=True) if left_ms == -1}

    def _settled(self):
        """Wait until no message waits or is in hand; return what is left."""
        end = time.monotonic() + self.patience_s
        while True:
            if not any(map(self.client.llen, lane_keys())):
                seen = snapshot_reader.read(self.client, KEYS)
                left = [hand.entry for hand in seen.hand.values()] + seen.waiting + [one.body for one in seen.dying]
                if not left:
                    return []
            else:
                left = [f"{key}: {self.client.llen(key)}".encode() for key in lane_keys()]
            if time.monotonic() > end or self.worker.poll() is not None:
                return left
            time.sleep(0.05)

    def round(self, n, kind=None, burst=BURST):
        """Push one burst and check what became of everything."""
        name = kind or "mixed"
        fate = random.Random(f"{self.seed} {name} {n}")
        told, self.rounds = len(self.findings), self.rounds + 1
        jobs = [
            f"{name}-{n}-{who}{place}" for who, count in (("own", OWN), ("other", OTHERS)) for place in range(count)
        ]
        own, others = jobs[:OWN], jobs[OWN:]
        os.kill(self.worker.pid, signal.SIGSTOP)
        self._submit(jobs)
        raws = [raw for key in lane_keys() for raw in self.client.lrange(key, 0, -1)]
        sent = {job_of(json.loads(raw)["headers"]["id"]): raw for raw in raws}
        scene = Scene(self.real, own, others, sent, self.owned)
        self._push(fate, scene, kind, burst)
        os.kill(self.worker.pid, signal.SIGCONT)
        begin = time.monotonic()
        found = {one.job: one for one in self.chain.pipeline.wait(others, self.patience_s)}
        left = self._settled()
        found |= {one.job: one for one in self.chain.pipeline.wait(own, 1.0)}
        self._check(name, n, found, own, others, left)
        self._check_system(name, n)
        if len(self.findings) > told:
            self._afresh()
        return time.monotonic() - begin

    def _push(self, fate, scene, kind, burst):
        with self.client.pipeline(transaction=False) as pipe:
            for _ in range(burst):
                drawn, raw = draw(fate, scene, kind)
                self.pushed[drawn] += 1
                push = pipe.rpush if fate.random() < 0.5 else pipe.lpush  # taken before the jobs, or after them
                stage = STAGES[0]
                with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    stage = json.loads(raw)["properties"]["delivery_info"]["routing_key"]
                fit = isinstance(stage, str) and stage in STAGES and fate.random() < 0.95
                push(fate.choice(lane_keys(stage) if fit else lane_keys()), raw)
            pipe.execute()

    def tell(self, name, n, what):
        self.findings.append((name, f"round {n}: {what}"))

    def _check(self, name, n, found, own, others, left):
        if (code := self.worker.poll()) is not None:
            self.tell(name, n, f"the worker ended with {code}: {self.chain.log.read_text()[-1000:]}")
            return
        for job in others:
            if job not in found:
                self.tell(name, n, f"{job} did not end")
            elif (got := answer(found[job])) != self.quiet:
                self.tell(name, n, f"{job} ended otherwise: {[one for one in got if one not in self.quiet]}")
        for job in own:
            if job not in found and self.judge_own:
                self.tell(name, n, f"the forger's job {job} did not end")
            elif job not in found:
                self.own_lost += 1
                self.chain.pipeline.cancel(job)
        if left:
            self.tell(name, n, f"{len(left)} message(s) stay, such as {left[0][:1500]!r}")
        if (children := self._children()) != self.child:
            self.tell(name, n, f"the child was killed: {self._said('lost|limit')}")
            self.child = children

    def _check_system(self, name, n):
        if twice := self.ends.twice():
            self.tell(name, n, f"ended twice: {twice}")
            self.ends.count.clear()
        if foreign := {task for task, _ in self.ran if task.startswith("celery.")}:  # others may be a `shadow`
            self.tell(name, n, f"tasks of others ran: {sorted(foreign)}")
        self.ran.clear()
        if self.owned.exists():
            self.tell(name, n, "a message was obeyed")
            self.owned.unlink()
        wrong = [one.message for one in delivery.examine(self.client, 5, KEYS) if one.state != "ok"]
        if wrong:
            self.tell(name, n, f"invariants: {wrong}")
        self.client.delete(KEYS.dead)
        end = time.monotonic() + 3  # an idle worker takes the last wake mark within half a second
        while (odd := self._lasting() - self.usual) and time.monotonic() < end:
            time.sleep(0.05)
        if odd:
            self.tell(name, n, f"keys without an expiry: {sorted(odd)[:5]}")
            self.usual |= odd
        grown = [(now - first) >> 20 for now, first in zip(self._peaks(), self.first_bytes, strict=False)]
        if max(grown, default=0) << 20 > MOST_BYTES:
            self.tell(name, n, f"parent and child grew by {grown} MiB")
            self.first_bytes = self._peaks()

    def _said(self, pattern):
        lines = self.chain.log.read_text().splitlines()
        return [line[:300] for line in lines if re.search(pattern, line, re.IGNORECASE)][-2:]

    def _afresh(self):
        """Begin again on an empty server, so that one finding does not cause others."""
        if self.worker.poll() is None:
            self.worker.kill()
        self.worker.wait()
        self.client.flushall()
        self.ends.count.clear()
        self._begin()
        self._settled()
        self.usual = self._lasting()

    def stop(self):
        self._over.set()
        self._listener.join(5)
        self.ends.stop()
        self.worker.kill()
        self.chain.stop()
        self._app.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def run(messages, seed=7, kind=None, say=print, burst=BURST):
    """Push so many messages; return the findings."""
    with tempfile.TemporaryDirectory(prefix="golem-siege-") as folder, Siege(Path(folder), seed) as siege:
        begin, slowest_s = time.monotonic(), 0.0
        for n in range(-(-messages // burst)):
            told = len(siege.findings)
            slowest_s = max(slowest_s, siege.round(n, kind, min(burst, messages - n * burst)))
            for name, what in siege.findings[told:]:
                say(f"{name}: {what}")
        say(
            f"messages: {siege.pushed.total()} in {time.monotonic() - begin:.0f} s, slowest burst {slowest_s:.1f} s, "
            f"{siege.own_lost} of {siege.rounds * OWN} jobs of the forger itself lost, {len(siege.findings)} findings"
        )
        return siege.findings


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kind", choices=KINDS)
    given = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("GOLEM_")]:
        del os.environ[name]
    return 1 if run(given.messages, given.seed, given.kind) else 0


if __name__ == "__main__":
    sys.exit(main())
