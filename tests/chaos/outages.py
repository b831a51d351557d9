"""Outages of Redis: away, read-only or full for a while, in the middle of a lone job, a backlog and a submit.

The outages run side by side, each on a server of its own with one worker. A job counts as kept if it ends as `done`.
"""

import threading
import time
from dataclasses import dataclass

from golem_chain.broker.local import embedded
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import BrokerAway
from tests.support.chain import Chain

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
    told_s: float = 0.0  # until the producer was told
    recovery_s: float = 0.0  # from the end of the outage until the last job ended
    worker: str = ""  # how it ended, empty while it runs

    @property
    def kept(self):
        """Whether every job ended as done, without a dead letter, and the worker still runs."""
        return self.done == self.jobs > 0 and not self.letters and not self.worker and self.told_s < PATIENCE_S

    def __str__(self):
        return (
            f"Redis {self.kind} for {self.seconds:g} s: {self.done} of {self.jobs} jobs done, {self.letters} dead "
            f"letters, all within {self.recovery_s:.1f} s of its end{'' if self.kept else ': MISSED ' + self.worker}"
        )


def strike(outage, folder):
    """Run one outage."""
    folder.mkdir(parents=True)
    server = embedded.start(folder / "server", appendonly=True, fsync="always")
    chain = Chain(server, folder, keep_s=3600)
    try:
        chain.start_worker()
        release = folder / "release"
        jobs = [chain.pipeline.submit(f"until {release}".encode(), labels="a,b")]
        jobs += [chain.pipeline.submit(b"sleep 0.2", labels="a,b") for _ in range(BACKLOG)]
        _await((folder / "release.begun").exists)
        end = KINDS[outage.kind](server, chain.client)
        began = time.monotonic()
        outage.told_s = _told(chain)
        time.sleep(max(0.0, min(5.0, outage.seconds / 4)))
        release.touch()  # the lone job ends in the middle of the outage
        time.sleep(max(0.0, began + outage.seconds - time.monotonic()))
        end()
        back = time.monotonic()
        jobs.append(_submitted(chain))
        found = {one.job: one for one in chain.pipeline.wait(jobs, RECOVERY_S)}
        outage.jobs, outage.recovery_s = len(jobs), time.monotonic() - back
        outage.done = sum(one.state == "done" for one in found.values())
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


def _submitted(chain):
    """Submit the same job again until the server takes it: it runs once."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return chain.pipeline.submit(b"turn it on", labels="a,b", id="meanwhile")
        except BrokerAway:
            assert time.monotonic() < end
            time.sleep(0.2)
