"""A real Prometheus that scrapes a door, if one is installed."""

import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

import httpx
import pytest
import yaml

from golem_chain.broker.local.process import die_with_parent

#: Seconds between two scrapes, and two evaluations of the rules.
INTERVAL_S = 0.5


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url):
        self.url = url

    def ask(self, path, **params):
        """Return the data of an answer of its API; fail with its error if there is one."""
        told = httpx.get(f"{self.url}/api/v1/{path}", params=params).json()
        assert told["status"] == "success", told
        return told["data"]

    def values(self, expr):
        """Return the samples of an instant query as (labels, value)."""
        return [(one["metric"], float(one["value"][1])) for one in self.ask("query", query=expr)["result"]]


@contextmanager
def scraping(folder, target, rules, **more):
    """Run a Prometheus that scrapes `target` (host:port) during the block; `more` goes into its scrape config."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is missing: install it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    every = f"{int(INTERVAL_S * 1000)}ms"
    scrape = {"job_name": "golem", "static_configs": [{"targets": [target]}], **more}
    config = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "scrape_configs": [scrape],
        "rule_files": [str(rules)],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    given = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "data"}
    given |= {"web.listen-address": f"127.0.0.1:{port}", "log.level": "warn"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *(f"--{name}={value}" for name, value in given.items())],
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 30
        while not _ready(url):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.05)
        yield Prometheus(url)
    finally:
        process.terminate()
        process.wait(20)


def _ready(url):
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False
