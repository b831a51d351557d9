"""The clients of a worker under measurement: spoken commands at given moments, and a set of bulk recordings."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Self

from golem_chain.benchmarks.chain.run import System
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import Outcome

CHECK_S = 3.0  # interval of looking whether the worker is alive


@dataclass(frozen=True)
class Command:
    """One command as its client saw it, seconds."""

    wall_s: float  # from the submit to the Outcome
    own_s: float  # its share of the compute and loads of its batches
    ended_at: float  # time.perf_counter


def own(outcome: Outcome) -> float:
    """Return a job's share of the compute of its batches, and of the loads that they waited for, seconds."""
    return sum((one.load_s + one.compute_s) / one.batch_size for one in outcome.stages.values())


def moments(seed: int, every_s: float) -> Iterator[float]:
    """Yield when commands are sent, seconds from the start of a round: one every `every_s`, at a random place in the
    first interval, so that rounds do not meet the bulk set at the same places."""
    at = random.Random(seed).uniform(0, every_s)
    while True:
        yield at
        at += every_s


class Client:
    """Submits commands and the bulk set, and waits for them. Thread-safe. Raises GolemError if a job does not end as
    `done`, and if the worker has ended."""

    def __init__(self, system: System, pipeline: Pipeline, commands: Sequence[bytes]) -> None:
        self._system, self._pipeline, self._turn = system, pipeline, cycle(commands)
        self.over = threading.Event()  # nobody wants the answers any more

    def command(self) -> Command:
        """Submit the next command in the interactive lane and wait for its Outcome."""
        audio, started = next(self._turn), time.perf_counter()
        job = self._pipeline.submit(audio, lane="interactive", name="command")
        [outcome] = self._wait({job})
        now = time.perf_counter()
        return Command(now - started, own(outcome), now)

    def bulk(self, files: Sequence[Path]) -> float:
        """Submit all files in the bulk lane, and return the time until the last Outcome, seconds."""
        started = time.perf_counter()
        self._wait({self._pipeline.submit(file, lane="bulk") for file in files})
        return time.perf_counter() - started

    def _wait(self, left: set[str]) -> list[Outcome]:
        found: list[Outcome] = []
        while left:
            for outcome in self._pipeline.wait(tuple(left), timeout_s=CHECK_S):
                if outcome.state != "done":
                    raise GolemError(f"{outcome.name}: {outcome.error and outcome.error.message}")
                left.discard(outcome.job)
                found.append(outcome)
            self._system.check()
            if self.over.is_set():
                raise GolemError("The measurement was interrupted.")
        return found


class Sending:
    """Sends commands at the given moments while the block runs, each from a thread of its own: on a box without lanes
    an answer may take longer than the next command."""

    def __init__(self, client: Client, at_s: Iterator[float]) -> None:
        self._client, self._at_s, self._stop = client, at_s, threading.Event()
        self._answered: list[Command] = []
        self._errors: list[GolemError] = []
        self._waiting: list[threading.Thread] = []
        self._sender = threading.Thread(target=self._send)

    def __enter__(self) -> Self:
        self._sender.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self._stop.set()
        self._sender.join()
        if kind:  # before the connection is closed under the threads
            self._client.over.set()
            for thread in self._waiting:
                thread.join()

    def answered(self) -> list[Command]:
        """Wait for all answers and return them. Raises GolemError if one did not come."""
        for thread in self._waiting:
            thread.join()
        if self._errors:
            raise self._errors[0]
        return self._answered

    def _send(self) -> None:
        started = time.perf_counter()
        for at in self._at_s:
            if self._stop.wait(max(0.0, started + at - time.perf_counter())):
                return
            self._waiting.append(threading.Thread(target=self._one, daemon=True))
            self._waiting[-1].start()

    def _one(self) -> None:
        try:
            self._answered.append(self._client.command())
        except GolemError as exc:
            self._errors.append(exc)
