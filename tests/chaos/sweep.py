"""Kills one process at each Redis command of a whole job, one after another, and checks that it made no difference.

For every n: a job is submitted, the producer, the worker's parent or its child is killed before or after its n-th
command; the worker is restarted under its name, or the job submitted again under its id. Each sweep has a server of its
own; two run at once. A sweep ends when a job is over before the n-th command three times in a row: what a parent sends
depends on the time.
"""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded
from golem_chain.broker.local.process import die_with_parent
from golem_chain.broker.monitoring import delivery
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.settings import Settings
from tests.chaos.storm import answer
from tests.support.command_count import commands
from tests.support.ends import Ends
from tests.support.paths import python_path
from tests.support.strikes import ROLES, WHENS, Board
from tests.support.struck import submit

GIVEN = {"lease_s": 5, "keep_s": 20}
PATIENCE_S = 60.0  # for an Outcome
SETTLE_S = 20.0  # until nothing moves any more: several leases
OVER = 3  # so many rounds in a row without a kill end a sweep
SHOWN = 3  # findings of a kind that are shown
TOLD = {"producer": "the producer", "parent": "the worker's parent", "child": "the worker's child"}
COST_JOBS, COST_S = 10, 0.3  # jobs whose commands are counted, and the time for each


@dataclass
class Sweep:
    """The kills of one process and what became of the jobs; lists have the number of the command."""

    role: str
    when: str
    kills: int = 0
    last: int = 0  # the last command at which a job was struck
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # keys without an expiry that no undisturbed job leaves
    broken: list[str] = field(default_factory=list)  # invariants of `golem doctor`
    slowest_s: float = 0.0  # from the submit to the Outcome

    @property
    def kept(self):
        """Whether every job ended once, as in the undisturbed run, and left nothing behind."""
        return self.kills > 0 and not (self.lost or self.twice or self.differing or self.left or self.broken)

    def __str__(self):
        wrong = {
            name: [len(found), *found[:SHOWN]]
            for name in ("lost", "twice", "differing", "left", "broken")
            if (found := vars(self)[name])
        }
        return (
            f"{self.role} killed {self.when} each command: {self.kills} kills up to command {self.last}, slowest "
            f"{self.slowest_s:.1f} s{f'; {wrong}' if wrong else ''}"
        )


@dataclass(frozen=True)
class Cost:
    """Redis commands of a lone job, without those of an idle worker in the same time."""

    sent: dict[str, float]  # by role
    executed: float  # by the server, those inside scripts included


class Ground:
    """A server, a worker and a producer that can be struck, and the state that an undisturbed job leaves."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.server = embedded.start(folder / "server", appendonly=True)
        self.settings = Settings.read(_env_file=None, redis_url=self.server.url, **GIVEN)
        self.client: Any = redis.Redis.from_url(self.server.url)
        self.pipeline = Pipeline(self.settings)
        self.board, self.log = Board(folder / "board"), folder / "worker.log"
        self.ends = Ends(self.server)
        env = os.environ | {"GOLEM_REDIS_URL": self.server.url, "OMP_NUM_THREADS": "1", "PYTHONPATH": python_path()}
        env |= {f"GOLEM_{name.upper()}": str(value) for name, value in GIVEN.items()}
        program = [sys.executable, "-m", "tests.support.struck"]
        with self.log.open("ab") as log:
            told: dict[str, Any] = {
                "env": env,
                "cwd": folder,
                "stderr": log,
                "preexec_fn": die_with_parent(signal.SIGKILL),
            }
            self.box: Any = subprocess.Popen([*program, "worker", str(folder / "board"), "box"], **told)
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self.producer: Any = subprocess.Popen([*program, "producer", str(folder / "board")], **told, **pipes)
        submit(self.pipeline, "undisturbed")
        self.quiet = answer(self.outcome("undisturbed"))
        assert self.quiet[1] == "done"
        self.usual = self._settle_first()

    def _settle_first(self):
        """Return the keys without an expiry once nothing moves any more."""
        seen, since = self.lasting(), time.monotonic()
        while time.monotonic() - since < 1.0:
            time.sleep(0.05)
            if (now := self.lasting()) != seen:
                seen, since = now, time.monotonic()
        return seen

    def lasting(self):
        """Return all keys without an expiry."""
        found = list(self.client.scan_iter(count=1000))
        with self.client.pipeline(transaction=False) as pipe:
            for key in found:
                pipe.pttl(key)
            return {key.decode() for key, left_ms in zip(found, pipe.execute(), strict=True) if left_ms == -1}

    def unusual(self, within_s=None):
        """Wait until only the usual keys have no expiry; return the others that are left."""
        end = time.monotonic() + (SETTLE_S if within_s is None else within_s)
        while (left := self.lasting() - self.usual) and time.monotonic() < end:
            time.sleep(0.02)
        return sorted(left)

    def outcome(self, job):
        """Return the job's Outcome, None if there is none in time."""
        return next(iter(self.pipeline.wait([job], PATIENCE_S)), None)

    def produce(self, how, job):
        """Submit in the producer; return its exit status."""
        self.producer.stdin.write(f"{how} {job}\n")
        self.producer.stdin.flush()
        return int(self.producer.stdout.readline())

    def said(self):
        return self.log.read_text()[-3000:]

    def stop(self):
        for process in (self.box, self.producer):
            if process.poll() is None:
                process.kill()  # what it has started dies with it
            process.wait()
        self.producer.stdin.close()
        self.producer.stdout.close()
        self.ends.stop()
        self.pipeline.close()
        self.client.close()
        self.server.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def strike(ground, sweep, n, job, again=""):
    """Run one job whose process is killed at its n-th command; return whether it was. `again`: when the producer
    submits the job again, `at once` or `later`."""
    ground.board.arm(sweep.role, sweep.when, n)
    begin = time.monotonic()
    if sweep.role == "producer":
        ground.produce("fork", job)
        ground.board.disarm()
        if again == "later" and (left := ground.unusual()):
            sweep.left.append(f"{n}: {left} before it was submitted again")
        assert ground.produce("fork", job) == 0, ground.said()
    else:
        submit(ground.pipeline, job)
    outcome = ground.outcome(job)
    sweep.slowest_s = max(sweep.slowest_s, time.monotonic() - begin)
    left = ground.unusual()
    fired = ground.board.fired
    ground.board.disarm()
    if outcome is None:
        sweep.lost.append(str(n))
    elif answer(outcome) != ground.quiet:
        sweep.differing.append(f"{n}: {answer(outcome)}")
    elif ground.pipeline.outcome(job) != outcome:
        sweep.twice.append(f"{n}: the Outcome was written again")
    if left:
        sweep.left.append(f"{n}: {left}")
        ground.usual |= set(left)  # told once
    wrong = [one.message for one in delivery.examine(ground.client, GIVEN["lease_s"], Keys()) if one.state != "ok"]
    sweep.broken += [f"{n}: {one}" for one in wrong]
    assert ground.box.poll() is None, f"the worker ended by itself: {ground.said()}"
    return fired


def run(folder, role, when, stride=1):
    """Sweep one process: every `stride`-th command."""
    sweep, missed, n = Sweep(role, when), 0, 1
    with Ground(folder) as ground:
        while missed < OVER:
            ways = ("at once", "later") if role == "producer" else ("",)
            fired = [strike(ground, sweep, n, f"{role}-{n}-{way[3:]}", way) for way in ways]
            missed = 0 if any(fired) else missed + 1
            sweep.kills += sum(fired)
            sweep.last = n if any(fired) else sweep.last
            n += stride
        sweep.twice += ground.ends.twice()
    return sweep


def run_all(folder, stride=1, say=None):
    """Run all sweeps, two at a time, and return them in order."""

    def one(role, when):
        sweep = run(folder / f"{role}-{when}", role, when, stride)
        if say:
            say(str(sweep))
        return sweep

    pairs = [(role, when) for role in ("parent", "child", "producer") for when in WHENS]  # the longest first
    with ThreadPoolExecutor(2) as pool:
        sweeps = list(pool.map(lambda pair: one(*pair), pairs))
    return sorted(sweeps, key=lambda one: (ROLES.index(one.role), WHENS.index(one.when)))


def cost(folder):
    """Count the commands of a lone job."""
    with Ground(folder) as ground:
        ground.produce("keep", "first")  # connects
        ground.outcome("first")
        ground.unusual()
        spent = []
        for jobs in ([""] * COST_JOBS, [f"job{n}" for n in range(COST_JOBS)]):
            with commands(ground.client) as executed:
                ground.board.arm("producer", "before", 0)  # counts from zero and strikes nobody
                for job in jobs:
                    if job:
                        ground.produce("keep", job)
                    time.sleep(COST_S)
                counts = ground.board.counts()
                spent.append(({role: counts[role] for role in ROLES}, executed()))
        (idle, idle_executed), (busy, busy_executed) = spent
        return Cost(
            {role: (busy[role] - idle[role]) / COST_JOBS for role in ROLES},
            (busy_executed - idle_executed) / COST_JOBS,
        )
