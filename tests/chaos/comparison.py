"""Compares our workers with stock Celery: three chained sleeping tasks under the same faults with the same seed.

Only delivery is compared: neither side has models, and both have correct clocks. Ours also keeps audio, job records and
Outcomes.
"""

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import redis
from celery import chain
from kombu.exceptions import OperationalError

from golem_chain.broker.queues import STAGES, task_id
from golem_chain.shared.errors import BrokerAway
from tests.support.faults import LEASE_S, FaultInjector
from tests.support.fleet import Fleet
from tests.support.stock_box import make_app as stock_app

RUN_S = 0.05
PATIENCE_S = 60.0  # after this time without a task start, missing jobs count as lost


@dataclass
class Fate:
    """The results of the jobs."""

    name: str
    jobs: int
    killed: Counter[str]
    lost: int
    again: int  # repeated runs of a stage
    twice: int  # jobs whose last stage finished more than once
    gap_s: float  # the longest time without a task start while jobs were waiting

    def __str__(self):
        return (
            f"{self.name}: {self.jobs} jobs, {self.killed.total()} faults: lost {self.lost}, stages run again "
            f"{self.again}, ended more than once {self.twice}, longest stall {self.gap_s:.1f} s"
        )


def _stock_chain(app, job):
    steps = [
        app.signature(f"stock.{stage}", args=(job,) if n == 0 else (), task_id=task_id(job, stage))
        for n, stage in enumerate(STAGES)
    ]
    chain(*steps, app=app).apply_async()


def compare(name, server, folder, jobs, kills, seed, server_kills=1):
    """Run the jobs on `ours` or `stock` under fault injection."""
    fleet = Fleet(server.url, folder)
    program, words = (
        ("tests.support.stock_box", ())
        if name == "stock"
        else ("tests.support.sleeping_box", (f"lease_s={LEASE_S}", "batch=1"))
    )
    app = stock_app(server.url)
    app.conf.result_backend = "disabled://"  # of this client: results are read by key, also after the server's end
    faults = FaultInjector(server, folder, 2, program, ("{url}", "{name}", *words), skew_s=0, BATCH_S=str(RUN_S))
    ids = [f"job{n}" for n in range(jobs)]

    def ended(job):
        if name != "stock":
            return fleet.state(job) == "SUCCESS"
        stored = fleet.redis.get(f"celery-task-meta-{task_id(job, STAGES[-1])}")
        return stored and json.loads(stored)["status"] == "SUCCESS"

    def produce():
        for job in ids:
            while True:
                try:
                    _stock_chain(app, job) if name == "stock" else fleet.submit([job])
                    break
                except (OperationalError, redis.RedisError, BrokerAway):
                    time.sleep(0.1)
            time.sleep(kills * 0.55 / jobs)

    try:
        producer = threading.Thread(target=produce, daemon=True)
        producer.start()
        fleet.until(lambda: fleet.log("batch"), 30)  # the boxes have started
        faults.rage(kills, seed, server_kills)
        producer.join()
        missing, seen, last = ids, 0, time.monotonic()
        while missing and time.monotonic() - last < PATIENCE_S:
            faults.mend()
            if (told := fleet.redis.llen("log")) != seen:
                seen, last = told, time.monotonic()
            missing = [job for job in missing if not ended(job)]
            time.sleep(0.1)
        time.sleep(2 * LEASE_S)  # time for repeated runs
        return _count(name, fleet, ids, missing, faults.killed)
    finally:
        faults.stop()
        fleet.close()
        app.close()


def _count(name, fleet, ids, missing, killed):
    starts = Counter((job, event["stage"]) for event in fleet.log("batch") for job in event["jobs"])
    ends = Counter(event["job"] for event in fleet.log("end", stage=STAGES[-1]))
    done_s = max((event["t"] for event in fleet.log("end", stage=STAGES[-1])), default=0)
    times = sorted(event["t"] for event in fleet.log("batch") if event["t"] <= done_s)
    gap_s = max((after - before for before, after in pairwise(times)), default=0.0)
    again = sum(count - 1 for count in starts.values())
    return Fate(name, len(ids), killed, len(missing), again, sum(count > 1 for count in ends.values()), gap_s)
