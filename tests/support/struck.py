"""A worker and a producer that `strikes` can kill at any Redis command. The sweep runs them as programs.

worker    `python -m tests.support.struck worker BOARD NAME`: `chain_worker`, restarted under its name when it is killed
producer  `python -m tests.support.struck producer BOARD`: submits the id on each line of its input in a process of its
          own (`fork ID`), or in this one (`keep ID`), and answers with the exit status
"""

import ctypes
import gc
import os
import signal
import sys
from pathlib import Path

from celery import Celery

from golem_chain.broker import submission  # noqa: F401  (imported before the fork)
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.records import OracleParams
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import tasks
from golem_chain.workers.parent import worker
from tests.support.chain_worker import build
from tests.support.strikes import Board, install

TEXT = b"turn on the lamp"
LABELS = "lamp,door"


def submit(pipeline, job):
    """Submit the job that all rounds of a sweep submit."""
    return pipeline.submit(TEXT, id=job, name="clip.wav", labels=LABELS, oracle=OracleParams(seed=7))


def _forked(run):
    """Run a function in a process of its own, which dies with this one; return its exit status."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    status = 1
    try:
        status = run()
    finally:
        sys.stderr.flush()
        os._exit(status)


def be_worker(board, name):
    """Run the worker, again and again while it is killed."""
    settings = Settings.read()

    def register(app: Celery) -> None:
        tasks.register(app, settings, build)

    def run():
        parent = os.getpid()
        install(board, lambda: "parent" if os.getpid() == parent else "child")
        return worker.start(settings, None, name, register=register)

    gc.freeze()
    while (status := _forked(run)) == -signal.SIGKILL:
        pass
    return status


def be_producer(board):
    """Submit what is asked for."""
    install(board, lambda: "producer")
    settings = Settings.read()
    kept = Pipeline(settings)

    def once(job):
        submit(Pipeline(settings), job)
        return 0

    for line in sys.stdin:
        how, job = line.split()
        status = _forked(lambda job=job: once(job)) if how == "fork" else bool(submit(kept, job)) - 1
        print(status, flush=True)
    return 0


if __name__ == "__main__":
    kind, path, *rest = sys.argv[1:]
    shared = Board(Path(path))
    sys.exit(be_worker(shared, *rest) if kind == "worker" else be_producer(shared))
