"""A chain for one test module: a server, a real worker process with fake engines, a producer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from road import Road

from golem_chain.broker.local.process import die_with_parent
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.settings import Settings

WORKER = Path(__file__).with_name("chain_worker.py")


class Chain:
    """A server with a worker on it; `settings` are those of both."""

    def __init__(self, server, folder, **given):
        self.folder, self.log = folder, folder / "worker.log"
        self.server = server
        self.env = {"GOLEM_REDIS_URL": self.server.url}
        for key, value in given.items():
            self.env[f"GOLEM_{key.upper()}"] = (
                os.pathsep.join(map(str, value)) if isinstance(value, tuple) else str(value)
            )
        self.settings = Settings.read(_env_file=None, redis_url=self.server.url, **given)
        self.pipeline = Pipeline(self.settings)
        self.client = redis.Redis.from_url(self.server.url)
        self.worker = None

    def start_worker(self):
        """The worker, once it has claimed its name."""
        path = os.pathsep.join([str(WORKER.parents[2]), os.environ.get("PYTHONPATH", "")])
        with self.log.open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, str(WORKER)],
                env=os.environ | self.env | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        end = time.monotonic() + 60
        while not list(self.client.scan_iter("golem:box:*")):
            assert self.worker.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def stop_worker(self):
        """SIGTERM, then SIGKILL."""
        if self.worker is None:
            return
        self.worker.terminate()
        try:
            self.worker.wait(20)
        except subprocess.TimeoutExpired:
            self.worker.kill()
            self.worker.wait()
        self.worker = None

    def outcomes(self, jobs, timeout_s=60):
        """The Outcomes by job; fails with the worker's log where one is missing."""
        found = {outcome.job: outcome for outcome in self.pipeline.wait(jobs, timeout_s)}
        assert set(found) == set(jobs), self.log.read_text()
        return found

    def stop(self):
        self.stop_worker()
        self.pipeline.close()
        self.client.close()
        self.server.stop()


@pytest.fixture(scope="module")
def make_chain(start_server, tmp_path_factory):
    """Makes running chains with settings of their own; audio files under `chain.root` travel by reference."""
    made = []

    def make(**given):
        folder = tmp_path_factory.mktemp("chain")
        root = folder / "audio"
        root.mkdir()
        chain = Chain(start_server(folder), folder, audio_root=(root,), **given)
        chain.root = root
        made.append(chain)
        chain.start_worker()
        return chain

    yield make
    for chain in made:
        chain.stop()


@pytest.fixture(scope="module")
def chain(make_chain):
    """A running chain, shared by the tests of a module."""
    return make_chain(keep_s=120)


@pytest.fixture
def road(server, tmp_path):
    """A road with sleeping engines on the module's own `server`; its boxes are ended afterwards."""
    made = Road(server.url, tmp_path)
    yield made
    made.close()
