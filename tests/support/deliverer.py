"""A deliverer for tests with a short lease and short steps; as a program, one that can be killed.

usage: python -m tests.support.deliverer LEASE_S STEP_S…
"""

import logging
import signal
import sys
import threading
from contextlib import contextmanager

from golem_chain.broker.webhooks.deliverer import Deliverer
from golem_chain.shared.settings import Settings

STEPS_S = (0.05, 0.1, 0.2)


@contextmanager
def delivering(settings, **given):
    """Run a deliverer in a thread; stop it at the end. An error of its thread is raised there."""
    made = Deliverer(settings, **{"steps_s": STEPS_S, "lease_s": 5.0, **given})
    raised = []

    def run():
        try:
            made.run()
        except Exception as exc:
            raised.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(30)
        assert not thread.is_alive()
    for exc in raised:
        raise exc


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    lease_s, *steps_s = map(float, sys.argv[1:])
    program = Deliverer(Settings.read(_env_file=None), lease_s=lease_s, steps_s=steps_s)
    signal.signal(signal.SIGTERM, lambda *_: program.stop())
    program.run()
