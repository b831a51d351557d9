"""A system of one's own for `golem run`: an embedded server and one worker, private, and gone when it ends."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from types import FrameType

from golem_chain.broker.local import embedded
from golem_chain.broker.local.process import die_with_parent
from golem_chain.shared.errors import GolemError, MissingExtra
from golem_chain.shared.settings import Settings

#: How the other half of the program is started: -P, so that a folder called workers in the current one is not taken.
WORKERS = (sys.executable, "-P", "-m", "golem_chain.workers")
NODE = "run"
GOODBYE_S = 3.0  # an idle worker ends in about one
ROOTS_MOST = 100_000  # bytes: Linux allows 131,072 for one environment variable


class WorkerEnded(GolemError):
    """The worker is gone while jobs wait for it."""

    code = "worker-ended"


class PrivateSystem:
    """The settings of the private system, and whether its worker still lives."""

    def __init__(self, settings: Settings, worker: "subprocess.Popen[bytes]", log: Path) -> None:
        self.settings, self.worker, self.log = settings, worker, log

    def check(self) -> None:
        """Raises WorkerEnded with the last line of the worker's log if it has stopped."""
        code = self.worker.poll()
        if code is None:
            return
        words = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        last = words[-1].removeprefix("golem: ") if words else "(empty)"
        how = f"with exit code {code}" if code >= 0 else f"on signal {-code} ({signal.Signals(-code).name})"
        raise WorkerEnded(f"The worker stopped {how}; the last line of its log: {last}")


def need_worker() -> None:
    """Raises MissingExtra where the models' libraries are not installed; nothing is imported."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingExtra(
            "The model libraries are not installed: pip install 'golem-chain[worker]', "
            "or send the files to another machine with golem submit."
        )


def pull_missing() -> None:
    """Fetch the models that are not in the store, with progress on stderr.

    Raises MissingExtra, and SystemExit where it failed: its sentence is on stderr already.
    """
    need_worker()
    done = subprocess.run([*WORKERS, "ensure"], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def roots(files: Sequence[str]) -> tuple[Path, ...]:
    """The folders that hold the files, without those below another, links resolved: what the worker may read.

    A folder that cannot stand in GOLEM_AUDIO_ROOT (its name holds the separator or is not UTF-8) is left out; its
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
def private_system(files: Sequence[str]) -> Iterator[PrivateSystem]:
    """Server and worker for exactly these files; both are gone afterwards, however this ends.

    Raises MissingExtra, BrokerAway. Signals that would end us are turned into an orderly exit meanwhile; a kill that
    cannot be caught takes both along through the kernel.
    """
    need_worker()
    with _orderly(), tempfile.TemporaryDirectory(prefix="golem-run-") as place, embedded.start(Path(place)) as server:
        allowed = roots(files)
        settings = Settings.read(redis_url=server.url, audio_root=allowed)
        log = Path(place) / "worker.log"
        with log.open("wb") as out:
            worker = subprocess.Popen(
                [*WORKERS, "worker", "--name", NODE],
                env=os.environ
                | {
                    "GOLEM_REDIS_URL": server.url,  # in the environment: a command line can be read by everybody
                    "GOLEM_AUDIO_ROOT": os.pathsep.join(map(str, allowed)),
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        try:
            yield PrivateSystem(settings, worker, log)
        finally:
            end(worker)
            if os.environ.get("GOLEM_DEBUG") == "1":
                sys.stderr.write(log.read_text(errors="replace"))  # the folder goes now, and the log with it


def end(worker: "subprocess.Popen[bytes]") -> None:
    """Ask, wait, kill: the worker and every process it started."""
    try:
        worker.terminate()
        worker.wait(GOODBYE_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)  # its session: also a child that it left behind
        worker.wait()


@contextmanager
def _orderly() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the stack as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what the signal module calls
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
