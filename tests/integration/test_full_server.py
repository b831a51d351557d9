"""A server whose disk or memory is full: a submit gets one sentence, nothing is lost, and work resumes on its own."""

import subprocess
import time
from contextlib import suppress

import pytest

from golem_chain.broker.local import embedded
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import BrokerAway, MissingExtra
from tests.support.chain import Chain

ROOM_BYTES = 8 << 20
JOBS = 12


@pytest.fixture
def disk(tmp_path):
    """A small separate file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES},mode=700", "none", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(ballast):
    """Fill the disk that holds the ballast."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.fixture
def chain_on(tmp_path):
    """Starts a chain on a server with an append-only file in a folder."""
    made = []

    def start(folder):
        try:
            server = embedded.start(folder / "server", appendonly=True)
        except MissingExtra as exc:
            pytest.skip(exc.message)
        made.append(Chain(server, tmp_path, keep_s=600))
        made[0].start_worker()
        return made[0]

    yield start
    for chain in made:
        chain.stop()


def refused(pipeline):
    """Return the error of a submit once the server has noticed."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            pipeline.submit(b"more")
            time.sleep(0.05)
        except BrokerAway as exc:
            return exc.message
    return pytest.fail("the server took everything")


def goes_on(chain, eventually, fill, make_room):
    """Fill the server during work, free space again, check that all jobs end; return the error of a submit between."""
    is_full = chain.folder / "is_full"
    jobs = [chain.pipeline.submit(f"until {is_full}".encode(), labels="a,b") for _ in range(JOBS)]
    eventually((chain.folder / "is_full.begun").exists)
    fill()
    with Pipeline(chain.settings) as pipeline:
        said = refused(pipeline)
        is_full.touch()
        eventually(lambda: "Redis is unavailable" in chain.log.read_text())  # in the middle of a batch
        assert chain.worker.poll() is None, chain.log.read_text()
        make_room()
        found = chain.outcomes(jobs, 60)
        assert chain.outcomes([pipeline.submit(b"after")])
    assert {outcome.state for outcome in found.values()} == {"done"}
    left = lambda: [key for key in ("golem:unacked", "golem:dying", "golem:dead") if chain.client.exists(key)]  # noqa: E731
    eventually(lambda: not left(), told=left)
    return said


def test_a_full_disk_of_the_server_refuses_in_one_sentence_and_loses_nothing(chain_on, disk, eventually):
    chain, ballast = chain_on(disk), disk / "ballast"
    said = goes_on(chain, eventually, lambda: fill(ballast), ballast.unlink)
    assert said.endswith("rejects writes: free space on the server's disk; workers then continue on their own.")


def test_a_server_that_becomes_a_replica_refuses_in_one_sentence_and_loses_nothing(chain_on, tmp_path, eventually):
    chain = chain_on(tmp_path)
    demote = lambda: chain.client.execute_command("REPLICAOF", "127.0.0.1", "1")  # noqa: E731
    promote = lambda: chain.client.execute_command("REPLICAOF", "NO", "ONE")  # noqa: E731
    said = goes_on(chain, eventually, demote, promote)
    assert said.endswith("accepts no writes: wait for the failover to end, or name the primary in GOLEM_REDIS_URL.")


def test_a_full_memory_of_the_server_refuses_in_one_sentence_and_loses_nothing(chain_on, tmp_path, eventually):
    chain = chain_on(tmp_path)
    most = lambda size: chain.client.config_set("maxmemory", size)  # noqa: E731
    said = goes_on(chain, eventually, lambda: most("100kb"), lambda: most("0"))
    assert said.endswith("is out of memory: wait for jobs to end, or raise its maxmemory.")


def test_an_absence_longer_than_every_patience_loses_no_job(tmp_path, monkeypatch, eventually):
    monkeypatch.setenv("IMPATIENT", "1")
    server = embedded.start(tmp_path / "server", appendonly=True, fsync="always")
    chain = Chain(server, tmp_path, keep_s=600, max_deliveries=1)  # an absence is no delivery
    try:
        chain.start_worker()
        back = tmp_path / "back"
        job = chain.pipeline.submit(f"until {back}".encode(), labels="a,b")
        eventually((tmp_path / "back.begun").exists)
        server.kill()
        back.touch()  # the job ends while Redis is down: neither its answer nor its retry can be written
        eventually(lambda: "are requeued: Redis is unavailable" in chain.log.read_text())
        server.restart()
        assert chain.outcomes([job])[job].state == "done"
        assert not chain.client.exists("golem:dead", "golem:dying")
    finally:
        chain.stop()
