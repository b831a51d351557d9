"""Runs jobs through the chain under fault injection and compares every Outcome with an undisturbed run."""

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import delivery
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import message
from golem_chain.shared.errors import Cancelled, Expired
from golem_chain.shared.settings import Settings
from tests.chaos.clients import Clients, id_of, submit
from tests.chaos.history import violations
from tests.chaos.treatment import Counted, expires_s_of, has_webhook, late_runs, members, miscounted, mistold
from tests.chaos.webhooks import Webhooks
from tests.fuzz.hostile import Scene, draw
from tests.support.ends import Ends
from tests.support.faults import ASLEEP_S, KINDS, LEASE_S, FaultInjector
from tests.support.messages import lane_keys

keys = Keys()

BOOKS = (keys.unacked, keys.dying, keys.expiring, *lane_keys())
BURST, NEAR = 100, 8  # hostile messages of a strike, and the jobs that they are about


def answer(outcome):
    """Return the parts of an Outcome that faults must not change: all but times, batch sizes and the box."""
    error = outcome.error and (outcome.error.code, outcome.error.message)
    intent = outcome.intent and outcome.intent.model_dump()
    return outcome.name, outcome.state, error, outcome.transcript, intent, outcome.reply, tuple(outcome.stages)


#: The faults of a storm, and how the one that only it has is told.
STRIKES = (*KINDS, "deliverer")
DELIVERER_TOLD = "deliverer of webhooks, SIGKILL"
#: What a report may have none of.
WRONG = ("lost", "twice", "differing", "left", "untrue", "broken", "miscounted", "late", "mistold")
#: Faults that kill, so that nothing is held up between the look at a deadline and the run of the model.
KILLS = {"child", "parent", "group", "hostile", "server", "deliverer"}
#: How late a run may begin, seconds: a busy machine, or a box that slept twice between look and run.
LATE_S, ASLEEP_LATE_S = 2.0, 2 * ASLEEP_S + 2.0


@dataclass
class Report:
    """The results of a run under fault injection."""

    jobs: int
    killed: Counter[str]
    lost: list[Any] = field(default_factory=list)
    twice: list[Any] = field(default_factory=list)
    differing: list[Any] = field(default_factory=list)
    left: list[Any] = field(default_factory=list)  # keys that were not empty at the end
    untrue: list[str] = field(default_factory=list)  # promises to clients that were broken: see `history`
    broken: list[str] = field(default_factory=list)  # invariants of `golem doctor` that did not hold at the end
    wall_s: float = 0.0
    gap_s: float = 0.0  # the longest time without a job ending
    told: Counter[str] = field(default_factory=Counter)  # answers to clients, by kind
    cancelled: int = 0  # jobs
    expired: int = 0  # jobs
    miscounted: list[str] = field(default_factory=list)  # groups that contradict the Outcomes of their jobs
    late: list[str] = field(default_factory=list)  # runs of a model after the deadline of the job
    mistold: list[str] = field(default_factory=list)  # webhooks that contradict the Outcomes
    webhooks: int = 0  # messages received

    @property
    def kept(self):
        """Whether every job ended once, as in the undisturbed run, cancelled or expired, and every promise was kept."""
        return not any(vars(self)[name] for name in WRONG)

    def __str__(self):
        killed, told = (
            ", ".join(f"{kind} {count}" for kind, count in sorted(one.items())) for one in (self.killed, self.told)
        )
        wrong = "".join(f"; {name}: {found[:5]}" for name in WRONG if (found := vars(self)[name]))
        return (
            f"{self.jobs} jobs, faults: {killed}; lost {len(self.lost)}, ended twice {len(self.twice)}, differing "
            f"{len(self.differing)}, promises broken {len(self.untrue)}, invariants broken {len(self.broken)}, "
            f"groups miscounted {len(self.miscounted)}, late runs {len(self.late)}, "
            f"webhooks mistold {len(self.mistold)} of {self.webhooks}, cancelled {self.cancelled}, "
            f"expired {self.expired}, {self.wall_s:.0f} s, longest time without an end {self.gap_s:.1f} s; "
            f"told: {told}{wrong}"
        )


class Storm(FaultInjector):
    """Boxes with fake engines on a server; `near`: returns the ids of jobs that hostile messages are about."""

    def __init__(self, server, folder, boxes, run_s=0.02, seed=0, **options):
        given = {"lease_s": LEASE_S, "max_deliveries": 50, "keep_s": 3600}  # a job may be hit by many faults
        self.settings = Settings.read(_env_file=None, redis_url=server.url, **given)
        env = {f"GOLEM_{key.upper()}": str(value) for key, value in given.items()}
        super().__init__(
            server, folder, boxes, "tests.support.chain_worker", ("{name}",), RUN_S=str(run_s),
            RUNS=str(folder / "runs"), **env, **options,
        )  # fmt: skip
        self.fate, self.owned = random.Random(f"forger {seed}"), folder / "owned"
        self.near: Any = list
        self.webhooks: Webhooks | None = None

    def strike(self, kind, name):
        """Inject one fault."""
        if kind == "deliverer":
            assert self.webhooks
            self.webhooks.kill()
            self.mend()
        else:
            super().strike(kind, name)

    def mend(self):
        """Restart what is dead."""
        super().mend()
        if self.webhooks:
            self.webhooks.mend()

    def stop(self):
        """End all processes."""
        super().stop()
        if self.webhooks:
            self.webhooks.stop()

    def forge(self):
        """Push hostile messages: about jobs that wait, run or have ended, and about none."""
        jobs = self.near() or [id_of(0)]
        real = {job: message.text(STAGES[0], job).encode() for job in jobs}
        scene = Scene(json.loads(real[jobs[0]]), jobs, jobs, real, self.owned)
        for n in range(BURST):
            _, raw = draw(self.fate, scene, "usurpers" if n % 5 == 0 else None)
            self._tell(self.fate.choice(("LPUSH", "RPUSH")), self.fate.choice(lane_keys()), raw)

    def runs(self):
        """Return job number and time (`time.monotonic`) of each run of a stage whose text names the job."""
        lines = [line.split(" ", 1) for line in (self.folder / "runs").read_text().splitlines()]
        return [(int(text.rpartition(" ")[2]), float(at)) for at, text in lines if text.startswith("turn on lamp ")]

    def outcomes(self, jobs, within_s):
        """Return the Outcomes by job number that arrive in time."""
        ids = {id_of(n): n for n in jobs}
        with Pipeline(self.settings) as pipeline:
            end = time.monotonic() + within_s
            found: dict[int, Any] = {}
            while len(found) < len(ids) and time.monotonic() < end:
                self.mend()
                left = [job for job, n in ids.items() if n not in found]
                found |= {ids[one.job]: one for one in pipeline.wait(left, 1.0)}
        return found


def quiet_answers(server, folder, jobs):
    """Return the answers of an undisturbed run, by job number."""
    storm = Storm(server, folder, boxes=1, run_s=0, skew_s=0)
    try:
        with Pipeline(storm.settings) as pipeline:
            for n in range(jobs):
                submit(pipeline, n)
        return {n: answer(one) for n, one in storm.outcomes(range(jobs), 60 + jobs / 10).items()}
    finally:
        storm.stop()


def storm_over(server, folder, quiet, jobs, kills, seed, server_kills=1, say=None, kinds=STRIKES):
    """Inject faults while clients submit, repeat and cancel jobs; return the report and the boxes' last log lines."""
    start = time.monotonic()
    storm = Storm(server, folder, boxes=2, seed=seed)
    pause_s = kills * 0.6 / jobs  # spreads the jobs over the duration of the faults
    storm.webhooks = Webhooks(server, folder)
    with redis.Redis.from_url(server.url) as client:
        storm.webhooks.ready(client)
    clients = Clients(storm.settings, jobs, pause_s, seed, 180 + jobs / 5 + kills, storm.webhooks.url)
    ends = Ends(server, clients.announced)
    storm.near = lambda: _near(clients, jobs, storm.fate)
    try:
        storm.rage(kills, seed, server_kills, say, kinds)
        hanging = clients.join(60 + jobs / 10, storm.mend)  # the late canceller waits for the boxes
        assert not hanging, f"{hanging} hang; {storm.said()}"
        found = storm.outcomes(range(jobs), 60 + jobs / 5)
        report = Report(jobs, storm.killed, wall_s=time.monotonic() - start)
        time.sleep(0.5)  # time for an erroneous second end of a job
        history = clients.finish(30)
        report.untrue = violations(history)
        report.told = Counter(f"{event.what} {_kind(event.told)}" for event in history)
        report.lost = sorted(set(range(jobs)) - set(found))
        report.twice = ends.twice()
        report.cancelled = sum(one.state == "cancelled" for one in found.values())
        report.expired = sum(one.state == "expired" for one in found.values())
        report.miscounted = _miscounted(storm.settings, found)
        report.late = list(late_runs(storm.runs(), clients.due_s(), LATE_S if set(kinds) <= KILLS else ASLEEP_LATE_S))
        report.differing = [n for n, one in found.items() if not _as_quiet(n, one, quiet[n])]
        report.gap_s = max(ends.gaps)
        if storm.owned.exists():
            report.untrue.append("a hostile message was obeyed")
        with redis.Redis.from_url(server.url) as client:
            report.left = _left(client, storm)
            report.broken = [
                one.message for one in delivery.examine(client, storm.settings.lease_s, keys) if one.state != "ok"
            ]
        report.mistold = list(mistold(told := storm.webhooks.told(), _with_webhooks(found)))
        report.webhooks = len(told)
        return report, storm.said()
    finally:
        clients.stop()
        ends.stop()
        storm.stop()


def _near(clients, jobs, fate):
    """Return ids of jobs around the one that was submitted last."""
    last = max((int(one.job.partition("-")[2]) for one in list(clients.history) if one.what == "submit"), default=0)
    return [id_of(fate.randint(max(0, last - 40), min(jobs - 1, last + 5))) for _ in range(NEAR)]


def _kind(told):
    return told if isinstance(told, str) else "ok" if told is None else told.state


def _with_webhooks(found):
    """Return the states of the jobs that have a webhook."""
    return {id_of(n): one.state for n, one in found.items() if has_webhook(n)}


def _miscounted(settings, found):
    """Return what groups say wrongly of their jobs."""
    said = []
    with Pipeline(settings) as pipeline:
        for name, numbers in members(len(found)).items():
            group = pipeline.group(name)
            ends = [(one.job, one.state) for one in group.wait(timeout_s=10)]
            states = {id_of(n): found[n].state for n in numbers if n in found}
            said += [f"group {name} {wrong}" for wrong in miscounted(Counted(group.status(), ends), states)]
    return said


def _as_quiet(n, outcome, quiet):
    """Return whether a job ended as in the undisturbed run, or was cancelled or expired with a part of its results.
    Whether it may be cancelled, the history tells."""
    codes = {"cancelled": Cancelled.code, **({"expired": Expired.code} if expires_s_of(n) else {})}
    if outcome.state not in codes:
        return answer(outcome) == quiet
    name, _, error, *results, _ = answer(outcome)
    parts = all(one in (None, whole) for one, whole in zip(results, quiet[3:6], strict=True))
    right = error is not None and error[0] == codes[outcome.state]
    return name == quiet[0] and right and parts and outcome.reply is None


def _left(client, storm):
    """Return what is in hand or waits though all jobs have ended, webhooks that are not delivered, and dead letters.
    Those of malformed messages, which name no job, are right."""
    end = time.monotonic() + 60
    while (left := [*filter(client.exists, BOOKS), *storm.webhooks.left(client)]) and time.monotonic() < end:
        storm.mend()
        time.sleep(0.1)
    return left + [raw for raw in client.lrange(keys.dead, 0, -1) if b'"why":"malformed"' not in raw]
