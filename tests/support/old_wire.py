"""Writes `tests/integration/data/wire-1.json` and `wire-2.json`: what a stopped system of an older release leaves.

It runs the code of that release, from a worktree that comes first on the path, with an interpreter that has today's
dependencies and `golem-chain[embedded]`:

    git worktree add /tmp/release f6297cd        # 0.1; 8dd6c7f for 0.2
    PYTHONPATH=/tmp/release python tests/support/old_wire.py 1 tests/integration/data/wire-1.json

A dump holds all keys but those of boxes and results: name, type, contents and expiry in seconds. Files are
under ROOT, which a test replaces by a folder of its own. The ids of the jobs tell what has become of them.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import redis

ROOT = Path("/tmp/golem-wire")
KEEP_S = 86400
LABELS = ",".join(f'label_{n}="what a user means by the label number {n}"' for n in range(32)) + ",turn_on,other"
VOCABULARY = ",".join(f"phrase number {n} of many" for n in range(100))
#: Where the modules were: in 0.1 the folders were packages of their own.
PLACES = {
    "1": ("", "residency.memory", "residency.residency", "tasks", "worker", "engine:FakeEngine", "embedded", "jobs"),
    "2": ("golem_chain.", "devices.memory", "residency.manager", "child.tasks", "parent.worker", "stub:StubEngine",
          "local.embedded", "jobs.records"),
}  # fmt: skip


def worker(version, name, queues):
    """Run a worker of the older release whose engines do what the words of the audio say."""
    top, *places, _, jobs_place = PLACES[version]
    records, errors = import_module(f"{top}shared.records"), import_module(f"{top}shared.errors")
    settings = import_module(f"{top}shared.settings").Settings.read()
    memory, residency, tasks, parent = (import_module(f"{top}workers.{place}") for place in places[:4])
    engine = import_module(f"{top}workers.stages.engine")
    place, _, kind = places[4].partition(":")
    base: Any = getattr(import_module(f"{top}workers.stages.{place}"), kind)
    jobs = import_module(f"{top}broker.{jobs_place}").Jobs
    store = jobs.store

    class Scribe(base):
        def prepare(self, ask):
            text = ask.data.decode()
            return errors.BadAudio(f"{ask.name} is not audio.") if text == "bad" else engine.Ready(text)

        def run(self, batch):
            super().run(batch)
            return [self.hear(text) for text in batch]

        def hear(self, text):
            hold(text, "hold scribe")
            if text.startswith("die"):
                os.kill(os.getpid(), signal.SIGKILL)
            if text == "oom":
                return errors.OutOfMemory("No room: lower GOLEM_BATCH.")
            rated = {"avg_logprob": -0.1, "no_speech_prob": 0.01, "compression_ratio": 1}
            return records.Transcript(text=text, segments=(records.Segment(start_s=0, end_s=1, text=text, **rated),))

    class Interpreter(base):
        def run(self, batch):
            super().run(batch)
            return [self.mean(ask) for ask in batch]

        def mean(self, ask):
            hold(ask.text, "hold interpreter")
            names = [label.name for label in ask.labels.labels]
            return records.Intent(label=names[-1], score=0.9, scores={names[-1]: 0.9}, method="entailment")

    class Oracle(base):
        def run(self, batch):
            super().run(batch)
            for ask in batch:
                hold(ask.text, "hold oracle")
            return [records.Reply(text=f"old: {a.text}", prompt=a.text, seed=a.seed, new_tokens=3) for a in batch]

    def build(on_event):
        engines = {"scribe": Scribe("scribe"), "interpreter": Interpreter("interpreter"), "oracle": Oracle("oracle")}
        return residency.Residency(
            engines, memory.CpuMemory(), models={"scribe": "openai/tiny@1 float32"}, on_event=on_event
        )

    def stored(self, done):
        done = list(done)
        store(self, done)
        for stage, handover in done:
            if handover.job.id == f"stored-{stage}":  # before the next message is published
                os.killpg(0, signal.SIGKILL)

    jobs.store = stored
    parent.start(settings, queues, name, register=lambda app: tasks.register(app, settings, build))


def hold(text, word):
    """Do not come back from a stage that the job names."""
    if text == word:
        Path(os.environ["BEGUN"]).touch()
        time.sleep(600)


class System:
    """A server and its producer; workers come and go."""

    def __init__(self, version):
        top, *_, embedded, _ = PLACES[version]
        self.version = version
        self.server = import_module(f"{top}broker.{embedded}").start()
        self.given = {"lease_s": 3600, "keep_s": KEEP_S, "audio_root": str(ROOT)}
        given = {**self.given, "audio_root": (ROOT,)}
        settings = import_module(f"{top}shared.settings").Settings.read(
            _env_file=None, redis_url=self.server.url, **given
        )
        self.pipeline = import_module(f"{top}broker.pipeline").Pipeline(settings)
        self.redis = redis.Redis.from_url(self.server.url)
        self.begun = ROOT.with_suffix(".begun")
        self.names = iter(f"box{n}@host" for n in range(100))

    def submit(self, job, text, **asked):
        self.pipeline.submit(text.encode(), id=job, **asked)

    def run(self, until, *queues, kill=False):
        """Run a worker until something holds, then stop or kill it."""
        env = {f"GOLEM_{key.upper()}": str(value) for key, value in self.given.items()}
        env |= {"GOLEM_REDIS_URL": self.server.url, "BEGUN": str(self.begun), "OMP_NUM_THREADS": "1"}
        self.begun.unlink(missing_ok=True)
        words = [sys.executable, __file__, "worker", self.version, next(self.names), *queues]
        process = subprocess.Popen(words, env=os.environ | env, start_new_session=True)
        end = time.monotonic() + 60
        while not until():
            assert time.monotonic() < end
            time.sleep(0.02)
        if kill:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.terminate()
        process.wait()

    def ended(self, *jobs):
        return all(self.pipeline.outcome(job) for job in jobs)


def fill(system):
    """Bring jobs into every state that a stopped system can leave them in."""
    for stage in ("scribe", "interpreter", "oracle"):
        system.submit(f"held-{stage}", f"hold {stage}", labels="turn_on,other")
        system.run(system.begun.exists, kill=True)
    for stage in ("scribe", "interpreter"):
        system.submit(f"stored-{stage}", f"turn_on {stage}", labels="turn_on,other")
        field = {"scribe": "transcript", "interpreter": "intent"}[stage]
        system.run(lambda s=stage, f=field: system.redis.hexists(f"golem:job:stored-{s}", f), kill=True)
    system.submit("retried", "oom")
    names = ("unacked", "golem:unacked")
    system.run(lambda: any(b'"retries": 1' in one for name in names for one in system.redis.hvals(name)), kill=True)
    system.submit("done", "turn_on the light", labels="turn_on,other")
    system.submit("failed", "bad")
    system.submit("dead", "die without /")  # it dies in the older release and passes in today's tests
    system.run(lambda: system.ended("done", "failed", "dead"))
    system.submit("waits-oracle", "turn_on oracle", labels=LABELS)
    system.run(lambda: system.redis.llen("oracle"), "scribe", "interpreter")
    system.submit("waits-interpreter", "turn_on interpreter", labels="turn_on,other")
    system.run(lambda: system.redis.llen("interpreter"), "scribe")
    for name, asked in (("vault", {}), ("labels", {"labels": LABELS}), ("vocabulary", {"vocabulary": VOCABULARY})):
        system.submit(f"queued-{name}", f"turn_on {name}", **asked)
    (ROOT / "clip.wav").write_bytes(b"turn_on file")
    system.pipeline.submit(ROOT / "clip.wav", id="queued-file")
    system.submit("cancelled", "turn_on nothing")
    system.pipeline.cancel("cancelled")


def dump(client):
    """Return all keys but those that vanish by themselves."""
    kept = {}
    for key in sorted(key.decode() for key in client.scan_iter()):
        if key.startswith(("golem:box:", "golem:boxes", "golem:claim:", "golem:checkpoint:", "celery-task-meta-")):
            continue
        kind = client.type(key).decode()
        read: dict[str, Any] = {"string": client.get, "hash": client.hgetall, "set": client.smembers}
        read |= {"list": lambda k: client.lrange(k, 0, -1), "zset": lambda k: client.zrange(k, 0, -1, withscores=True)}
        if kind == "stream":
            continue  # what golem timeline draws
        kept[key] = {"type": kind, "value": packed(read[kind](key)), "ttl_s": client.ttl(key)}
    return kept


def packed(value):
    """Return contents as JSON, without the name of this machine. Everything is text: the audio too."""
    if isinstance(value, bytes):
        return value.decode().replace(socket.gethostname(), "host")
    if isinstance(value, dict):
        return {packed(key): packed(one) for key, one in sorted(value.items())}
    if isinstance(value, list | tuple | set):
        return [packed(one) for one in (sorted(value) if isinstance(value, set) else value)]
    return value


def main():
    """Write a dump."""
    if sys.argv[1] == "worker":
        return worker(sys.argv[2], sys.argv[3], sys.argv[4:] or None)
    version, out = sys.argv[1:]
    ROOT.mkdir(exist_ok=True)
    system = System(version)
    fill(system)
    Path(out).write_text(json.dumps(dump(system.redis), indent=0) + "\n")
    system.server.stop()
    return None


if __name__ == "__main__":
    main()
