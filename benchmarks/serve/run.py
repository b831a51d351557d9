"""`golem bench serve`: the start of `golem serve`, one request beside the same job without it, many clients at once."""

import asyncio
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis

from golem_chain.benchmarks.chain.interactive import percentile
from golem_chain.benchmarks.clock import hardware
from golem_chain.benchmarks.report import Say, Table, Target, target_table
from golem_chain.benchmarks.serve.clients import BOUNDARY, Timed, ask, request, resident_bytes
from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded
from golem_chain.broker.local.process import die_with_parent
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import GolemError
from golem_chain.shared.settings import Settings

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "lights-on.flac"
CLIENTS = 100
WITHIN_S = 1.0  # the clients of one round begin within this time
START_S = 300.0
OVERHEAD_MOST_S, FIRST_MOST_S, MEMORY_MOST_BYTES, AGAIN_MOST_S = 0.025, 0.250, 150e6, 10.0


@dataclass
class Findings:
    """All measurements, as written to the JSON file."""

    hardware: str
    listening_s: float = 0.0  # from the command to the first answer
    answered_s: float = 0.0  # to the first transcript, with the models in the store
    direct_s: list[float] = field(default_factory=list)  # submit and wait
    served_s: list[float] = field(default_factory=list)  # the same over HTTP
    idle_bytes: int = 0
    peak_bytes: int = 0
    cpu_s: float = 0.0  # of the server, for one streamed request
    first_s: dict[str, list[float]] = field(default_factory=dict)  # of streams, by how they arrive
    whole_s: dict[str, list[float]] = field(default_factory=dict)

    @property
    def overhead_s(self) -> float:
        """What a request over HTTP takes longer than the job itself, by the medians."""
        return statistics.median(self.served_s) - statistics.median(self.direct_s)


def measure(jobs: int, rounds: int, say: Say) -> Findings:
    """Measure all. `jobs`: requests that are compared with jobs; `rounds` of clients. Raises GolemError if a request
    fails."""
    found = Findings(hardware())
    say("starting golem serve with its own system")
    _start(found)
    with _served() as (port, pid, settings), Pipeline(settings) as pipeline:
        audio = SAMPLE.read_bytes()
        for n in range(jobs + 5):
            direct_s, served_s = _direct_s(pipeline, audio), _served_s(port, audio, f"one-{n}")
            if n >= 5:  # the first ones warm up
                found.direct_s.append(direct_s)
                found.served_s.append(served_s)
        found.idle_bytes = found.peak_bytes = resident_bytes(pid)
        server = psutil.Process(pid)
        before_s = _cpu_s(server)
        for way, spread_s in ((f"within {WITHIN_S:g} s", WITHIN_S), ("in the same moment", 0.0)):
            say(f"{CLIENTS} clients, {rounds} rounds, {way}")
            answers: list[Timed] = []
            for n in range(rounds):
                answers += asyncio.run(_crowd(port, audio, f"{spread_s}-{n}", spread_s))
                found.peak_bytes = max(found.peak_bytes, resident_bytes(pid))
            if wrong := [one.status for one in answers if one.status != 200]:
                raise GolemError(f"{len(wrong)} of {len(answers)} requests failed, the first with status {wrong[0]}.")
            found.first_s[way] = [one.first_s for one in answers]
            found.whole_s[way] = [one.whole_s for one in answers]
        found.cpu_s = (_cpu_s(server) - before_s) / sum(map(len, found.first_s.values()))
    return found


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _start(found: Findings) -> None:
    """Time the start of a whole system."""
    with tempfile.TemporaryDirectory(prefix="golem-bench-") as folder:
        port, began = _free_port(), time.perf_counter()
        with _process(port, {"GOLEM_SERVE_DATA": folder}, without=("GOLEM_REDIS_URL",)) as process:
            _until_healthy(port, process)
            found.listening_s = time.perf_counter() - began
            _served_s(port, SAMPLE.read_bytes(), "first")
            found.answered_s = time.perf_counter() - began


def _direct_s(pipeline: Pipeline, audio: bytes) -> float:
    began = time.perf_counter()
    job = pipeline.submit(audio, stop="scribe", lane="interactive")
    [outcome] = pipeline.wait([job])
    if outcome.state != "done":
        raise GolemError(f"The job ended as {outcome.state}.")
    return time.perf_counter() - began


def _served_s(port: int, audio: bytes, name: str) -> float:
    body = request(audio, name, stream=False).partition(b"\r\n\r\n")[2]
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/audio/transcriptions",
        body,
        {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
    )
    began = time.perf_counter()
    with urllib.request.urlopen(asked, timeout=START_S) as answer:
        answer.read()
    return time.perf_counter() - began


async def _crowd(port: int, audio: bytes, name: str, spread_s: float) -> list[Timed]:
    async def one(number: int) -> Timed:
        await asyncio.sleep(random.uniform(0, spread_s))
        return await ask(port, request(audio, f"{name}-{number}", stream=True))

    return list(await asyncio.gather(*map(one, range(CLIENTS))))


@contextmanager
def _served() -> Iterator[tuple[int, int, Settings]]:
    """Run a Redis, a worker whose engines answer at once, and `golem serve`; yield port, process id and settings."""
    with tempfile.TemporaryDirectory(prefix="golem-bench-") as folder, embedded.start(Path(folder)) as server:
        env = {"GOLEM_REDIS_URL": server.url, "OMP_NUM_THREADS": "1"}
        with (
            _program(["golem_chain.benchmarks.serve.ready_worker"], env) as worker,
            redis.Redis.from_url(server.url) as client,
        ):
            names = Keys(Settings.read().prefix).box("*")
            _until(lambda: any(client.hexists(key, "queues") for key in client.scan_iter(names)), worker)
            port = _free_port()
            with _process(port, env) as process:
                _until_healthy(port, process)
                yield port, process.pid, Settings.read(redis_url=server.url, redis_wait=0)


@contextmanager
def _process(port: int, env: Mapping[str, str], without: tuple[str, ...] = ()) -> "Iterator[subprocess.Popen[bytes]]":
    command = ["golem_chain.broker.cli", "serve", "--port", str(port), "--wyoming-port", "0"]
    with _program(command, env, without) as process:
        yield process


@contextmanager
def _program(
    words: list[str], env: Mapping[str, str], without: tuple[str, ...] = ()
) -> "Iterator[subprocess.Popen[bytes]]":
    kept = {key: value for key, value in os.environ.items() if key not in (*without, "GOLEM_API_KEYS")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", *words],
        env=kept | dict(env),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent(signal.SIGTERM),
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _until_healthy(port: int, process: "subprocess.Popen[bytes]") -> None:
    def healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    _until(healthy, process)


def _until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_S
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise GolemError("The server or the worker did not start: run golem serve to see why.")
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def targets(found: Findings) -> Iterator[Target]:
    """Yield what was to be reached."""
    late = max(percentile(times, 0.99) for times in found.first_s.values())
    yield Target(
        "golem serve to the first transcript, models in the store, s",
        f"≤ {AGAIN_MOST_S:g}", f"{found.answered_s:.1f}", found.answered_s <= AGAIN_MOST_S,
    )  # fmt: skip
    yield Target(
        "a transcription over HTTP beside submit and wait, median, ms more",
        f"≤ {1000 * OVERHEAD_MOST_S:.0f}", f"{1000 * found.overhead_s:.1f}", found.overhead_s <= OVERHEAD_MOST_S,
    )  # fmt: skip
    yield Target(
        f"{CLIENTS} clients streaming at once: first byte, 99th percentile, ms",
        f"≤ {1000 * FIRST_MOST_S:.0f}", f"{1000 * late:.0f}", late <= FIRST_MOST_S,
    )  # fmt: skip
    yield Target(
        "memory of the server with them, MB",
        f"≤ {MEMORY_MOST_BYTES / 1e6:.0f}", f"{found.peak_bytes / 1e6:.0f}", found.peak_bytes <= MEMORY_MOST_BYTES,
    )  # fmt: skip


def tables(found: Findings) -> Iterator[Table]:
    """Yield all tables."""
    yield Table(
        "The start of golem serve, s",
        ("to its first answer", "to the first transcript, models in the store"),
        [(f"{found.listening_s:.1f}", f"{found.answered_s:.1f}")],
    )
    yield Table(
        f"A transcription, engines that answer at once, {len(found.direct_s)} times in turn, ms",
        ("way", "median", "95 %"),
        [
            (way, f"{1000 * statistics.median(times):.1f}", f"{1000 * percentile(times, 0.95):.1f}")
            for way, times in (("submit and wait", found.direct_s), ("over HTTP", found.served_s))
        ],
    )
    yield Table(
        f"{CLIENTS} clients, each a streamed transcription on a connection of its own, ms",
        ("they begin", "requests", "first byte, median", "99 %", "whole answer, median", "99 %"),
        [
            (
                way,
                len(times),
                *(f"{1000 * one:.0f}" for one in _shown(times)),
                *(f"{1000 * one:.0f}" for one in _shown(found.whole_s[way])),
            )
            for way, times in found.first_s.items()
        ],
    )
    yield Table(
        "The server itself",
        ("memory idle, MB", f"most with {CLIENTS} clients, MB", "CPU of a streamed request, ms"),
        [(f"{found.idle_bytes / 1e6:.0f}", f"{found.peak_bytes / 1e6:.0f}", f"{1000 * found.cpu_s:.1f}")],
    )
    yield target_table(targets(found))


def _shown(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), percentile(times, 0.99)
