"""Runs jobs through the chain under fault injection and compares every Outcome with an undisturbed run."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import delivery
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import BrokerAway
from golem_chain.shared.settings import Settings
from tests.support.ends import Ends
from tests.support.faults import LEASE_S, FaultInjector

keys = Keys()

BOOKS = ("golem:unacked", "golem:dying", "golem:dead")


def text_of(n):
    """Return the audio text of the n-th job: mostly words, sometimes one that ends early, is retried or fails."""
    return {3: b"silence", 7: b"bad", 11: b"confuse me", 13: b"..."}.get(n % 20, f"turn on lamp {n}".encode())


def answer(outcome):
    """Return the parts of an Outcome that faults must not change: all but times, batch sizes and the box."""
    error = outcome.error and (outcome.error.code, outcome.error.message)
    intent = outcome.intent and outcome.intent.model_dump()
    return outcome.name, outcome.state, error, outcome.transcript, intent, outcome.reply, tuple(outcome.stages)


@dataclass
class Report:
    """The results of a run under fault injection."""

    jobs: int
    killed: Counter[str]
    lost: list[Any] = field(default_factory=list)
    twice: list[Any] = field(default_factory=list)
    differing: list[Any] = field(default_factory=list)
    left: list[Any] = field(default_factory=list)  # keys that were not empty at the end
    broken: list[str] = field(default_factory=list)  # invariants of `golem doctor` that did not hold at the end
    wall_s: float = 0.0
    gap_s: float = 0.0  # the longest time without a job ending

    def __str__(self):
        killed = ", ".join(f"{kind} {count}" for kind, count in sorted(self.killed.items()))
        return (
            f"{self.jobs} jobs, faults: {killed}; lost {len(self.lost)}, ended twice {len(self.twice)}, differing "
            f"{len(self.differing)}, invariants broken {len(self.broken)}, {self.wall_s:.0f} s, longest time "
            f"without an end {self.gap_s:.1f} s"
        )


class Storm(FaultInjector):
    """Boxes with fake engines and a producer; the announced ends of jobs are counted."""

    def __init__(self, server, folder, boxes, run_s=0.02, **options):
        given = {"lease_s": LEASE_S, "max_deliveries": 50, "keep_s": 3600}  # a job may be hit by many faults
        self.settings = Settings.read(_env_file=None, redis_url=server.url, **given)
        env = {f"GOLEM_{key.upper()}": str(value) for key, value in given.items()}
        super().__init__(
            server, folder, boxes, "tests.support.chain_worker", ("{name}",), RUN_S=str(run_s), **env, **options
        )
        self.ends = Ends(server)

    def submit(self, jobs, pause_s=0.0):
        """Submit the jobs, retrying each with the same id until Redis accepts it."""
        with Pipeline(self.settings) as pipeline:
            for n in jobs:
                while True:
                    try:
                        pipeline.submit(text_of(n), id=f"storm-{n}", name=f"{n}.wav", labels="lamp,door")
                        break
                    except BrokerAway:
                        time.sleep(0.1)  # before the next attempt
                time.sleep(pause_s)  # a stream, not a backlog

    def outcomes(self, jobs, within_s):
        """Return the answers by job number that arrive in time."""
        ids = {f"storm-{n}": n for n in jobs}
        with Pipeline(self.settings) as pipeline:
            end = time.monotonic() + within_s
            found: dict[int, Any] = {}
            while len(found) < len(ids) and time.monotonic() < end:
                self.mend()
                left = [job for job, n in ids.items() if n not in found]
                found |= {ids[one.job]: answer(one) for one in pipeline.wait(left, 1.0)}
        return found

    def stop(self):
        self.ends.stop()
        super().stop()


def quiet_answers(server, folder, jobs):
    """Return the answers of an undisturbed run, by job number."""
    storm = Storm(server, folder, boxes=1, run_s=0, skew_s=0)
    try:
        storm.submit(range(jobs))
        return storm.outcomes(range(jobs), 60 + jobs / 10)
    finally:
        storm.stop()


def storm_over(server, folder, quiet, jobs, kills, seed, server_kills=1, say=None):
    """Inject faults while the jobs are submitted; return the report and the last log lines of the boxes."""
    storm = Storm(server, folder, boxes=2)
    try:
        start = time.monotonic()
        pause_s = kills * 0.55 / jobs  # spreads the jobs over the duration of the faults
        producer = threading.Thread(target=storm.submit, args=(range(jobs), pause_s), daemon=True)
        producer.start()
        storm.rage(kills, seed, server_kills, say)
        producer.join(60 + jobs / 10)
        assert not producer.is_alive(), "the producer hangs"
        found = storm.outcomes(range(jobs), 60 + jobs / 5)
        report = Report(jobs, storm.killed, wall_s=time.monotonic() - start)
        time.sleep(0.5)  # time for an erroneous second end of a job
        report.lost = sorted(set(range(jobs)) - set(found))
        report.twice = storm.ends.twice()
        report.differing = [n for n, told in found.items() if told != quiet[n]]
        report.gap_s = max(storm.ends.gaps)
        end = time.monotonic() + 60
        with redis.Redis.from_url(server.url) as client:
            while (left := [key for key in BOOKS if client.exists(key)]) and time.monotonic() < end:
                time.sleep(0.1)
            report.left = left
            report.broken = [
                one.message for one in delivery.examine(client, storm.settings.lease_s, keys) if one.state != "ok"
            ]
        return report, storm.said()
    finally:
        storm.stop()
