"""Outages of Redis: away, read-only or full for a while.

Each strikes in the middle of a lone job, a backlog, a retry, a submit and a cancel. The outages run side by side, each
on a server of its own with one worker. A job counts as kept if it ends as `done`, and the cancelled one if it stays
`cancelled`.
"""

import re
import threading
import time
from dataclasses import dataclass

from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import BrokerAway
from tests.support.chain import Chain
from tests.support.messages import lane_keys

BACKLOG = 20
#: Within this a producer is told why its submit fails, seconds; also on a busy machine.
PATIENCE_S = 60.0
#: After the end of an outage the jobs must end within this, seconds.
RECOVERY_S = 120.0


def dead(server, client):
    """Kill the server; it is restarted from its append-only file."""
    del client
    server.kill()
    return server.restart


def read_only(server, client):
    """Make the server a replica of nobody, as in a failover."""
    del server
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    return lambda: client.execute_command("REPLICAOF", "NO", "ONE")


def full(server, client):
    """Leave the server no memory for writes."""
    del server
    client.config_set("maxmemory", "100kb")
    return lambda: client.config_set("maxmemory", "0")


KINDS = {"away": dead, "read-only": read_only, "out of memory": full}


@dataclass
class Outage:
    """One outage and what became of the jobs."""

    kind: str
    seconds: float
    jobs: int = 0
    done: int = 0
    letters: int = 0
    cancelled: int = 0  # jobs
    told_s: float = 0.0  # until the producer and the one who cancels were told
    recovery_s: float = 0.0  # from the end of the outage until the last job ended
    worker: str = ""  # how it ended, empty while it runs

    @property
    def kept(self):
        """Whether every job ended as done, one as cancelled, without a dead letter, and the worker still runs."""
        ended = self.done == self.jobs - 1 > 0 and self.cancelled == 1
        return ended and not self.letters and not self.worker and self.told_s < PATIENCE_S

    def __str__(self):
        return (
            f"Redis {self.kind} for {self.seconds:g} s: {self.done} of {self.jobs} jobs done, {self.cancelled} "
            f"cancelled, {self.letters} dead letters, all within {self.recovery_s:.1f} s of its end"
            f"{'' if self.kept else ': MISSED ' + self.worker}"
        )


def strike(outage, folder):
    """Run one outage."""
    folder.mkdir(parents=True)
    server = embedded.start(folder / "server", appendonly=True, fsync="always")
    chain = Chain(server, folder, keep_s=3600)
    try:
        chain.start_worker()
        release, tried = folder / "release", folder / "tried"
        jobs = [chain.pipeline.submit(f"oom once {tried}".encode(), labels="a,b")]
        _await(tried.exists)
        jobs.append(chain.pipeline.submit(f"until {release}".encode(), labels="a,b"))
        jobs += [chain.pipeline.submit(b"sleep 0.2", labels="a,b") for _ in range(BACKLOG)]
        unwanted = chain.pipeline.submit(b"sleep 0.2", labels="a,b")
        _await((folder / "release.begun").exists)
        _await(lambda: _retries(chain.client))  # the worker is busy: the second try waits
        end = KINDS[outage.kind](server, chain.client)
        began = time.monotonic()
        outage.told_s = max(_told(chain), _refused(chain, unwanted))
        time.sleep(max(0.0, min(5.0, outage.seconds / 4)))
        release.touch()  # the lone job ends in the middle of the outage
        time.sleep(max(0.0, began + outage.seconds - time.monotonic()))
        end()
        back = time.monotonic()
        cancelled = _repeated(lambda: chain.pipeline.cancel(unwanted))
        jobs += [_repeated(lambda: chain.pipeline.submit(b"turn it on", labels="a,b", id="meanwhile")), unwanted]
        found = {one.job: one for one in chain.pipeline.wait(jobs, RECOVERY_S)}
        outage.jobs, outage.recovery_s = len(jobs), time.monotonic() - back
        outage.done = sum(one.state == "done" for one in found.values())
        outage.cancelled = int(cancelled.state == "cancelled" and found.get(unwanted) == cancelled)
        outage.letters = chain.client.llen("golem:dead") + chain.client.llen("golem:dying")
        assert chain.worker is not None
        code = chain.worker.poll()
        outage.worker = "" if code is None else f"the worker ended with {code}: {chain.log.read_text()[-300:]}"
    finally:
        chain.stop()


def run(folder, lengths_s=(20.0, 100.0)):
    """Run every kind for every length, side by side, and return the Outages."""
    outages = [Outage(kind, seconds) for seconds in lengths_s for kind in KINDS]
    threads = [
        threading.Thread(target=strike, args=(outage, folder / f"outage{n}")) for n, outage in enumerate(outages)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outages


def _await(condition, within_s=60.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _told(chain):
    """Return the seconds until a submit is refused with a sentence."""
    begin = time.monotonic()
    with Pipeline(chain.settings) as pipeline:
        while time.monotonic() - begin < PATIENCE_S:
            try:
                pipeline.submit(b"turn it on", labels="a,b", id="meanwhile")
                time.sleep(0.1)
            except BrokerAway:
                break
    return time.monotonic() - begin


def _refused(chain, job):
    """Return the seconds until a cancel is refused with a sentence."""
    begin = time.monotonic()
    with Pipeline(chain.settings) as pipeline:
        try:
            said = str(pipeline.cancel(job))
        except BrokerAway as exc:
            said = exc.message
    assert re.fullmatch(r"Redis at [^ ]+ .*[^.]\.", said), said
    assert ". " not in said, said
    return time.monotonic() - begin


def _repeated(call):
    """Call until the server takes it, and return the answer."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except BrokerAway:
            assert time.monotonic() < end
            time.sleep(0.2)


def _retries(client):
    """Return whether a message of a second try waits or is in hand."""
    waiting = [raw for key in lane_keys(STAGES[0]) for raw in client.lrange(key, 0, -1)]
    raws = [*waiting, *client.hvals(Keys().unacked)]
    return any(b'"retries": 1' in raw for raw in raws)
