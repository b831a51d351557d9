"""Measures recovery from single faults: the time until the interrupted work starts again."""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass

from tests.support.faults import FaultInjector
from tests.support.fleet import Fleet, descendants

ROUNDS = 5


@dataclass
class Drill:
    """One drill: the fault, repetitions, promise, result, and whether the promise was kept."""

    what: str
    rounds: int
    promised: str
    came: str
    kept: bool

    def __str__(self):
        return f"{self.what}, {self.rounds} times: {self.came} ({self.promised}){'' if self.kept else ': MISSED'}"


class Ground:
    """Boxes with sleeping engines on a server, with a FaultInjector and their Fleet."""

    def __init__(self, server, folder, boxes, *words, **env):
        self.fleet = Fleet(server.url, folder)
        self.faults = FaultInjector(
            server, folder, boxes, "tests.support.sleeping_box", ("{url}", "{name}", *words), skew_s=0, **env
        )
        self.fleet.until(lambda: len(list(self.fleet.redis.scan_iter("golem:box:*"))) == boxes, 30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.faults.stop()
        self.fleet.close()

    def batches(self, job):
        return [event for event in self.fleet.log("batch", stage="interpreter") if job in event["jobs"]]

    def busy(self, job):
        """Wait until a box works on the job and return its name."""
        self.fleet.submit([job])
        self.fleet.until(lambda: self.batches(job), 30)
        return self.fleet.redis.hvals("golem:holders")[0].decode().partition("@")[0]

    def again(self, job, since, mend=False):
        """Return the seconds from `since` until the job started again; `mend`: restart dead boxes meanwhile."""

        def begun():
            if mend:
                self.faults.mend()
            return len(self.batches(job)) > 1

        self.fleet.until(begun, 60)
        return self.batches(job)[-1]["t"] - since


def _row(what, took, most_s):
    came = f"slowest {max(took):.1f} s"
    return Drill(what, len(took), f"at most {most_s:g} s", came, max(took) <= most_s)


def _recoveries(server, folder, strike, mend=False):
    """Return the seconds until the job in hand started again, for each fault on a single box."""
    took = []
    with Ground(server, folder, 1, SLOW_S="1") as ground:
        for job in (f"slow {n}" for n in range(ROUNDS)):
            name = ground.busy(job)
            since = time.time()
            strike(ground.faults, name)
            took.append(ground.again(job, since, mend))
            ground.fleet.done([job])
    return took


def child_killed(server, folder):
    def strike(faults, name):
        for child in descendants(faults.boxes[name].pid):
            os.kill(child, signal.SIGKILL)

    return _row("child killed, parent survives", _recoveries(server, folder, strike), 3)


def worker_restarted(server, folder):
    def strike(faults, name):
        faults.strike("group", name)
        while faults.boxes[name].poll() is not None:
            faults.mend()

    return _row("worker killed, restarted under the same name", _recoveries(server, folder, strike, mend=True), 3)


def box_vanished(server, folder):
    took = []
    for n in range(3):
        with Ground(server, folder, 2, SLOW_S="1") as ground:
            name = ground.busy(f"slow {n}")
            since = time.time()
            os.killpg(ground.faults.boxes[name].pid, signal.SIGKILL)
            took.append(ground.again(f"slow {n}", since))
    return _row("box killed for good, another box takes over (lease 25 s, the default)", took, 30)


def network_back(server, folder):
    took = []
    with Ground(server, folder, 1) as ground:
        for n in range(3):
            ground.faults.wires["box0"].cut()
            ground.fleet.submit([f"after cut {n}"])
            time.sleep(5)  # downtime
            since = time.time()
            ground.faults.wires["box0"].mend()
            ground.fleet.done([f"after cut {n}"], 60)
            took.append(time.time() - since)
    return _row("network down for 5 s: from its return to the next finished job", took, 10)


def server_restarted(server, folder):
    took = []
    with Ground(server, folder, 1) as ground:
        for n in range(3):
            ground.fleet.submit([f"after restart {n}.{m}" for m in range(8)])
            time.sleep(0.05)  # in the middle of the work
            server.kill()
            time.sleep(1)  # downtime
            server.restart()
            since = time.time()
            ground.fleet.done([f"after restart {n}.{m}" for m in range(8)], 60)
            took.append(time.time() - since)
    return _row("Redis down for 1 s: from its return to the last of 8 finished jobs", took, 10)


def longer_than_the_lease(server, folder):
    with Ground(server, folder, 2, "lease_s=10", SLOW_S="60") as ground:
        ground.fleet.submit(["slow job"])
        ground.fleet.done(["slow job"], 90)
        starts = len(ground.batches("slow job"))
    return Drill("job of 60 s with a lease of 10 s", 1, "starts once", f"{starts} start", starts == 1)


def killer(server, folder):
    """A poison job that kills every worker that runs it, among seven harmless ones."""
    jobs = [f"j{n}" for n in range(7)]
    with Ground(server, folder, 1, "max_deliveries=3") as ground:
        ground.fleet.submit(["poison", *jobs])
        ground.fleet.done(jobs, 60)
        ground.fleet.until(lambda: ground.fleet.state("poison", "interpreter") == "FAILURE", 60)
        starts = len(ground.batches("poison"))
        ends = Counter(event["job"] for event in ground.fleet.log("end", stage="oracle"))
        letters = ground.fleet.redis.llen("golem:dead")
    came = f"{starts} deliveries, {letters} dead letter, {len(ends)} of {len(jobs)} other jobs done"
    kept = starts == 3 and letters == 1 and set(ends) == set(jobs) and set(ends.values()) == {1}
    return Drill("job that kills its worker, among seven other jobs", 1, "3 deliveries, then a dead letter", came, kept)


ALL = (child_killed, worker_restarted, box_vanished, network_back, server_restarted, longer_than_the_lease, killer)
