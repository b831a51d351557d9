"""The command `golem deliver`. The work is in `broker.webhooks`."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence

from golem_chain.broker.cli.console import line, say
from golem_chain.broker.connection import check_broker, connect, place, reaching
from golem_chain.broker.keys import Keys
from golem_chain.broker.webhooks.deliverer import Deliverer
from golem_chain.broker.webhooks.outbox import Outbox
from golem_chain.shared.durations import age
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.shared.text import visible

_TICK_S = 0.2  # interval of looking for a signal


def serve(settings: Settings) -> None:
    """Deliver webhooks until SIGINT or SIGTERM. Raises BadSetting, BrokerAway if Redis refuses this user."""
    deliverer = Deliverer(settings)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

    told, failed = [], []  # signals, errors; a handler must take no lock, which its own thread may hold

    def run() -> None:
        try:
            deliverer.run()
        except BaseException as exc:  # noqa: BLE001 - raised below
            failed.append(exc)

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda number, _: told.append(number))
    say(f"Delivering webhooks of {place(settings)}. Press Ctrl-C to stop.")
    running = threading.Thread(target=run, name="deliverer")
    running.start()
    while running.is_alive() and not told:
        running.join(_TICK_S)
    deliverer.stop()
    running.join()
    if failed:
        raise failed[0]
    say("Stopped; what was not delivered stays in Redis.")


def show_dead(settings: Settings, *, as_json: bool) -> None:
    """Print the dead messages. Raises BrokerAway."""
    with reaching(settings), connect(settings) as client:
        found = Outbox(client, Keys(settings.prefix)).dead()
    if as_json:
        for one in found:
            line(one)
    elif found:
        _print(found)
    else:
        say("There are no dead webhooks.")


def _print(found: Sequence[JsonObject]) -> None:
    """Two lines for each: a table of ids and URLs fits no terminal."""
    for one in found:
        tries = "1 try" if one["tries"] == 1 else f"{one['tries']} tries"
        print(f"{visible(one['id'])}  job {visible(one['job'])}, {tries}, given up {age(time.time() - one['at'])} ago")
        print(f"    {visible(one['origin'] or 'no receiver')}: {visible(one['error'])}")


def retry(settings: Settings, ids: Sequence[str], *, as_json: bool) -> None:
    """Make dead messages due again. Raises BadRequest for an unknown id, BrokerAway."""
    check_broker(settings)
    with reaching(settings), connect(settings) as client:
        outbox = Outbox(client, Keys(settings.prefix))
        for id in ids:
            outbox.retry(id)
            if as_json:
                line({"id": id, "retried": True})
            else:
                say(f"The webhook {id} is tried again.")
