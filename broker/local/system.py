"""The private system of `golem run`: an embedded server and one worker, both stopped when it ends."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from types import FrameType
from typing import IO

from golem_chain.broker.local import embedded
from golem_chain.broker.local.process import die_with_parent
from golem_chain.shared.errors import GolemError, MissingExtra
from golem_chain.shared.records import CHAIN
from golem_chain.shared.settings import Settings

#: Command of the worker. -P keeps the current folder off sys.path, where it could shadow our packages.
WORKERS = (sys.executable, "-P", "-m", "golem_chain.workers")
NODE = "run"
STAGES = tuple(CHAIN)
GOODBYE_S = 3.0  # an idle worker stops in about 1 s
ROOTS_MOST = 100_000  # bytes: Linux allows 131,072 for one environment variable


class WorkerEnded(GolemError):
    """The worker ended while jobs were waiting for it."""

    code = "worker-ended"


class PrivateSystem:
    """The settings of the private system, and its worker process."""

    def __init__(self, settings: Settings, worker: "subprocess.Popen[bytes]", log: Path) -> None:
        self.settings, self.worker, self.log = settings, worker, log

    def check(self) -> None:
        """Raise WorkerEnded with the last line of the worker's log if it has stopped."""
        code = self.worker.poll()
        if code is None:
            return
        words = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        raise WorkerEnded(ended(code, words[-1] if words else ""))


def need_worker(otherwise: str = "send the files to another machine with golem submit") -> None:
    """Raise MissingExtra if the model libraries are not installed, without importing them. `otherwise`: what to do
    without them."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingExtra(f"The model libraries are not installed: pip install 'golem-chain[worker]', or {otherwise}.")


def pull_missing(stages: Sequence[str] = STAGES) -> None:
    """Pull the checkpoints of these stages that are missing from the store, with progress on stderr.

    Raises MissingExtra if the model libraries are missing, SystemExit if the pull fails; its message is already on
    stderr.
    """
    need_worker()
    done = subprocess.run([*WORKERS, "ensure", *stages], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def roots(files: Sequence[str]) -> tuple[Path, ...]:
    """Return the folders that the worker may read: those of the files, links resolved, without nested ones.

    A folder whose name cannot be part of GOLEM_AUDIO_ROOT (it contains the separator or is not UTF-8) is left out; its
    files go through the vault.
    """
    folders = sorted({Path(file).resolve().parent for file in files}, key=lambda path: len(path.parts))
    kept: dict[Path, None] = {}
    for folder in folders:
        name = str(folder)
        if os.pathsep in name or not name.isprintable():
            continue
        if not any(above in kept for above in (folder, *folder.parents)):
            kept[folder] = None
    sizes = accumulate(len(os.fsencode(folder)) + 1 for folder in kept)
    return tuple(folder for folder, size in zip(kept, sizes, strict=True) if size <= ROOTS_MOST)


@contextmanager
def private_system(
    files: Sequence[str], stages: Sequence[str] = STAGES, more: Mapping[str, str] | None = None
) -> Iterator[PrivateSystem]:
    """Run a server and a worker that serves these stages for these files; both are stopped on exit. `more` are
    variables for the worker, such as GOLEM_RESIDENT.

    SIGTERM and SIGHUP cause an orderly exit; if this process is killed, the kernel kills both.
    Raises MissingExtra if a package is missing, BrokerAway if the server does not start.
    """
    need_worker()
    with _orderly(), tempfile.TemporaryDirectory(prefix="golem-run-") as place, embedded.start(Path(place)) as server:
        allowed = roots(files)
        settings = Settings.read(redis_url=server.url, redis_wait=0, audio_root=allowed)  # it has no replicas
        log = Path(place) / "worker.log"
        with log.open("wb") as out:
            variables = {"GOLEM_AUDIO_ROOT": os.pathsep.join(map(str, allowed)), **(more or {})}
            worker = start_worker(["--name", NODE, "--queues", ",".join(stages)], server.url, variables, out)
        try:
            yield PrivateSystem(settings, worker, log)
        finally:
            end(worker)
            if os.environ.get("GOLEM_DEBUG") == "1":
                sys.stderr.write(log.read_text(errors="replace"))  # the log is deleted with its folder


def start_worker(
    options: Sequence[str], redis_url: str, variables: Mapping[str, str], out: int | IO[bytes]
) -> "subprocess.Popen[bytes]":
    """Start a worker that the kernel kills when the calling thread ends. `out` gets its log."""
    return subprocess.Popen(
        [*WORKERS, "worker", *options],
        # the URL is not on the command line, which other users can read
        env=os.environ | {"GOLEM_REDIS_URL": redis_url} | {**variables},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C in the terminal is ours
        preexec_fn=die_with_parent(signal.SIGKILL),
    )


def ended(code: int, last: str) -> str:
    """Return the sentence for a worker that has stopped. `last`: the last line of its log."""
    how = f"with exit code {code}" if code >= 0 else f"on signal {-code} ({signal.Signals(-code).name})"
    return f"The worker stopped {how}; the last line of its log: {last.removeprefix('golem: ') or '(empty)'}"


def end(worker: "subprocess.Popen[bytes]", within_s: float = GOODBYE_S) -> None:
    """Stop the worker and its child: SIGTERM, then SIGKILL after `within_s`."""
    try:
        worker.terminate()
        worker.wait(within_s)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)  # its session, including an orphaned child
        worker.wait()


@contextmanager
def _orderly() -> Iterator[None]:
    """Make SIGTERM and SIGHUP unwind the stack as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signature of a signal handler
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
