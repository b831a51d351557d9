"""The whole chain in real processes: a server, a worker with fake engines, a producer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from golem_chain.broker.connection import connect
from golem_chain.broker.local.process import die_with_parent
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.settings import Settings
from tests.support.paths import python_path


class Chain:
    """A server with one worker; `settings` apply to both."""

    root: Path  # of files that jobs may reference, if any

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
        self.client = connect(self.settings)
        self.worker = None

    def start_worker(self):
        """Start a worker and wait until it has claimed its name."""
        with self.log.open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "tests.support.chain_worker"],
                env=os.environ | self.env | {"OMP_NUM_THREADS": "1", "PYTHONPATH": python_path()},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        end = time.monotonic() + 60
        while not list(self.client.scan_iter(f"{self.settings.prefix}:box:*")):
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
        """Return the Outcomes by job; fail with the worker's log if one is missing."""
        found = {outcome.job: outcome for outcome in self.pipeline.wait(jobs, timeout_s)}
        assert set(found) == set(jobs), self.log.read_text()
        return found

    def stop(self):
        self.stop_worker()
        self.pipeline.close()
        self.client.close()
        self.server.stop()
