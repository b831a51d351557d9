"""The clients of a storm: they submit, submit again, cancel, promote, read and wait, and note what they were told.

Each acts in a thread of its own, at moments that depend only on the seed: two producers, two cancellers, a promoter, a
reader, and a waiter for every few jobs. The late canceller waits until the last stage begins. Another one cancels a
group once all of its jobs are submitted. What Redis refuses they repeat.
"""

import random
import threading
import time
from contextlib import suppress
from typing import Any

from golem_chain.broker.keys import hashed
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import BadRequest, BrokerAway
from tests.chaos.history import AWAY, UNKNOWN, Event
from tests.chaos.treatment import CANCELLED as DOOMED
from tests.chaos.treatment import expires_s_of, has_webhook, members, treatment

AGAIN, CANCELLED, PROMOTED, READS = 0.15, 0.06, 0.1, 2  # shares of the jobs; reads of each, at most
LATE_S, RUN_S = 20.0, 0.1  # the late canceller waits no longer; so long the last stage waits and runs
AGAIN_S, CANCEL_S, READ_S, PROMOTE_S = 8.0, 8.0, 8.0, 0.3  # so long after its submit this happens, at most
WAITERS = 20


def id_of(n):
    """Return the id of the n-th job."""
    return f"storm-{n}"


def text_of(n):
    """Return the audio text of the n-th job: mostly words, sometimes one that ends early or fails."""
    return {3: b"silence", 7: b"bad", 11: b"confuse me", 13: b"..."}.get(n % 20, f"turn on lamp {n}".encode())


def submit(pipeline, n, **given):
    """Submit the n-th job."""
    pipeline.submit(text_of(n), id=id_of(n), name=f"{n}.wav", labels="lamp,door", **given)


def plan(jobs, pause_s, seed):
    """Return for each client (seconds, what, job number), in order. Some jobs are submitted twice at once."""
    fate = random.Random(f"clients {seed}")
    clients = ("producer", "second", "canceller", "late canceller", "promoter", "reader")
    acts: dict[str, list[tuple[float, str, int]]] = {client: [] for client in clients}
    for n in range(jobs):
        at = n * pause_s  # a stream, not a backlog
        acts["producer"].append((at, "submit", n))
        acts["second"] += [(at, "submit", n)] * (fate.random() < AGAIN)
        acts["second"] += [(at + fate.uniform(0, AGAIN_S), "submit", n)] * (fate.random() < AGAIN)
        acts["canceller"] += [(at + fate.uniform(0, CANCEL_S), "cancel", n)] * (fate.random() < CANCELLED)
        acts["late canceller"] += [(at, "cancel", n)] * (fate.random() < CANCELLED)
        acts["promoter"] += [(at + fate.uniform(0, PROMOTE_S), "promote", n)] * (fate.random() < PROMOTED)
        acts["reader"] += [(at + fate.uniform(0, READ_S), "read", n) for _ in range(fate.randint(0, READS))]
    return {client: sorted(told) for client, told in acts.items()}


class Clients:
    """The clients and their `history`. `patience_s`: how long waiters wait; `url`: of the webhook of each job that has
    one, by its number."""

    def __init__(self, settings, jobs, pause_s, seed, patience_s, url):
        self.settings, self.jobs, self.seed, self.patience_s, self.url = settings, jobs, seed, patience_s, url
        self.history: list[Event] = []
        self._start = time.monotonic()
        self._over = threading.Event()
        self._accepted: set[int] = set()
        self._waiters: list[threading.Thread] = []
        self._hashes = {hashed(id_of(n)): id_of(n) for n in range(jobs)}
        self._actors = [
            self._thread(self._act, client, acts) for client, acts in plan(jobs, pause_s, seed).items() if acts
        ]
        self._actors.append(self._thread(self._cancel_group, "group canceller"))

    def _thread(self, call, *args):
        thread = threading.Thread(target=call, args=args, daemon=True, name=args[0])
        thread.start()
        return thread

    def now_s(self):
        return time.monotonic() - self._start

    def note(self, client, what, job, told=None, began_s=None):
        ended_s = self.now_s()
        self.history.append(Event(client, what, job, told, ended_s if began_s is None else began_s, ended_s))

    def announced(self, hash_):
        """Note an announcement of a job's end. Strangers' jobs have none."""
        self.note("listener", "announced", self._hashes.get(hash_, hash_))

    def _act(self, client, acts):
        waiting: list[int] = []
        share = max(1, self.jobs // WAITERS)
        fate = random.Random(f"{client} {self.seed}")
        with Pipeline(self.settings) as pipeline:
            for due_s, what, n in acts:
                self._over.wait(due_s - self.now_s())
                if client == "late canceller":
                    self._until_late(pipeline, id_of(n), fate.uniform(0, RUN_S))
                while not self._over.is_set() and not self._done(pipeline, client, what, n):
                    self._over.wait(0.1)  # before the next attempt
                if client == "producer":
                    waiting.append(n)
                    if len(waiting) == share or n == self.jobs - 1:
                        self._waiters.append(self._thread(self._wait, f"waiter {n}", waiting))
                        waiting = []

    def _until_late(self, pipeline, job, more_s):
        """Wait until the job has finished its first two stages, or has ended, and a moment more."""
        end = time.monotonic() + LATE_S
        while not self._over.is_set() and time.monotonic() < end:
            with suppress(BrokerAway):
                if pipeline.progress([job])[STAGES[-2]]:
                    self._over.wait(more_s)
                    return
            self._over.wait(0.005)

    def _cancel_group(self, client):
        """Cancel a group when all of its jobs are submitted, so that those under way are cancelled."""
        doomed = members(self.jobs)[DOOMED]
        while not self._accepted.issuperset(doomed):
            if self._over.wait(0.01):
                return
        began_s = self.now_s()
        with Pipeline(self.settings) as pipeline:
            while not self._over.is_set():
                with suppress(BrokerAway):
                    pipeline.group(DOOMED).cancel()
                    break
                self._over.wait(0.1)
        for n in doomed:
            self.note(client, "cancel", id_of(n), None, began_s)

    def _done(self, pipeline, client, what, n):
        """Do it once; return whether it need not be repeated."""
        job, began_s, told = id_of(n), self.now_s(), None
        known = n in self._accepted
        try:
            if what == "submit":
                submit(pipeline, n, **treatment(n), webhook=self.url(n) if has_webhook(n) else None)
                self._accepted.add(n)
            elif what == "promote":
                pipeline.promote(job)
            else:
                told = pipeline.cancel(job) if what == "cancel" else pipeline.outcome(job)
        except BrokerAway:
            told = AWAY
        except BadRequest:
            told = UNKNOWN
        self.note(client, what, job, told, began_s)
        return told != AWAY and (told != UNKNOWN or known)

    def _wait(self, client, numbers):
        left = [id_of(n) for n in numbers]
        for job in left:
            self.note(client, "asked", job)
        end = time.monotonic() + self.patience_s
        with Pipeline(self.settings) as pipeline:
            while left and not self._over.is_set() and time.monotonic() < end:
                began_s = self.now_s()
                try:
                    for outcome in pipeline.wait(left, end - time.monotonic()):
                        self.note(client, "waited", outcome.job, outcome, began_s)
                        left = [job for job in left if job != outcome.job]
                except BrokerAway:
                    time.sleep(0.1)
                except BadRequest:  # the message names the job
                    for job in left:
                        self._look(pipeline, client, job)
                    return

    def _look(self, pipeline: Any, client, job):
        began_s = self.now_s()
        try:
            told = pipeline.outcome(job)
        except BadRequest:
            told = UNKNOWN
        except BrokerAway:
            told = AWAY
        self.note(client, "read", job, told, began_s)

    def due_s(self):
        """Return when each job with a deadline is overdue at the latest, by `time.monotonic`: its first accepted submit
        counts."""
        taken: dict[str, float] = {}
        for one in sorted(self.history, key=lambda one: one.ended_s):
            if one.what == "submit" and one.told is None:
                taken.setdefault(one.job, one.ended_s)
        deadlines = {n: expires_s for n in range(self.jobs) if (expires_s := expires_s_of(n))}
        return {n: self._start + taken[id_of(n)] + s for n, s in deadlines.items() if id_of(n) in taken}

    def join(self, within_s, meanwhile):
        """Wait until the producers, the cancellers and the reader have done all, and call `meanwhile` again and again;
        return the names of those that have not."""
        end = time.monotonic() + within_s
        while (hanging := [one.name for one in self._actors if one.is_alive()]) and time.monotonic() < end:
            meanwhile()
            time.sleep(0.1)
        return hanging

    def finish(self, within_s):
        """Wait for the waiters, read every Outcome once more, and return the history."""
        end = time.monotonic() + within_s
        for thread in self._waiters:
            thread.join(max(0.0, end - time.monotonic()))
        with Pipeline(self.settings) as pipeline:
            for n in range(self.jobs):
                self._look(pipeline, "afterwards", id_of(n))
        return list(self.history)

    def stop(self):
        """End all threads that still act."""
        self._over.set()
