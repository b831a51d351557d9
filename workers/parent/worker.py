"""Starts a worker: this process becomes the parent (takes, leases, acknowledgements) and forks the child (models)."""

import gc
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from celery import Celery, platforms, signals
from celery.utils.log import get_logger

from golem_chain.broker import wire
from golem_chain.broker.app import make_app
from golem_chain.broker.connection import check_broker, connect_once, place, reaching
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.shared.errors import BadSetting
from golem_chain.shared.settings import Settings
from golem_chain.workers.child.device import settle
from golem_chain.workers.parent import control  # noqa: F401 - its command is registered by the import
from golem_chain.workers.parent.bootsteps import STEPS
from golem_chain.workers.parent.card_health import CardHealth
from golem_chain.workers.parent.checkpoints import Agreement, Checkpoints, installed
from golem_chain.workers.parent.consumer import Parent, ReconnectingConsumer
from golem_chain.workers.parent.context import ParentContext, Shutdown
from golem_chain.workers.parent.node_name import NodeName, node_name

logger = get_logger(__name__)

#: Loggers with a line for each message at INFO. Flower shows the same.
_CHATTY = ("celery.worker.strategy", "celery.app.trace", "celery.worker.consumer.connection", "celery.pool")


def start(
    settings: Settings,
    queues: Sequence[str] | None = None,
    name: str | None = None,
    *,
    register: Callable[[Celery], None] | None = None,
    preload: Callable[[], None] | None = None,
    checkpoints: Checkpoints | None = None,
    log_level: str = "INFO",
) -> int:
    """Run a worker until it is stopped and return its exit code. Call it in the main thread.

    `queues`: stages to serve, None for all. `register` adds the tasks to the app, None: those of `workers.child.tasks`.
    `preload` runs before the child is forked and must not touch a device; for our own tasks it imports the model
    libraries by default, so that a respawned child is ready immediately. `checkpoints` must be equal on all boxes; for
    our own tasks they are those of the store.
    Raises BrokerAway if Redis does not answer, BadSetting for an unknown queue or a name in use, WireDiffers if the
    system in Redis is of another release, CheckpointsDiffer if live workers use different checkpoints, ModelMissing or
    ModelCorrupt if a checkpoint of the store cannot be used, DeviceRefused if GOLEM_DEVICE cannot, or has stopped
    working.
    """
    set_up_log(log_level)
    node = node_name(name)
    unknown = [queue for queue in queues or () if queue not in STAGES]
    if unknown:
        raise BadSetting(f"There is no queue {unknown[0]}: choose --queues from {', '.join(STAGES)}.")
    app = make_app(settings)
    check_broker(settings)
    client = connect_once(settings, socket_timeout=5)
    keys = Keys(settings.prefix)
    with reaching(settings):
        wire.check(client, keys, place(settings))  # before the name: a worker with a name has set the version
    taken = NodeName(client, node, keys)
    taken.take()
    ours = register is None
    if register is None:
        settings = settle(settings)
        register, preload = _tasks(settings), preload or partial(_import_models, settings)
    try:
        used = installed(settings, queues or STAGES) if ours else checkpoints or {}
        look = partial(installed, settings, queues or STAGES) if ours else None
        agreement = Agreement(client, node, used, keys, look)
        agreement.join()
        held = ConsumerState()
        shutdown, outcomes = Shutdown(held, settings.stop_s), Outcomes(settings, client)
        context = ParentContext(
            held, taken, agreement, shutdown, outcomes, keys, CardHealth(shutdown.at_once, settings.max_deliveries)
        )
        return _run(app, settings, queues, context, register, preload, log_level)
    finally:
        taken.release()
        client.close()


def _run(
    app: Celery,
    settings: Settings,
    queues: Sequence[str] | None,
    context: ParentContext,
    register: Callable[[Celery], None],
    preload: Callable[[], None] | None,
    log_level: str,
) -> int:
    node = context.name.node
    app.conf.broker_transport_options |= {"box": node, "consumer_state": context.held}
    app.conf.worker_consumer = partial(ReconnectingConsumer, context=context)
    app.steps["consumer"].update(STEPS)
    register(app)
    with reaching(settings), app.connection_for_write() as connection:  # before slow imports: other boxes may be idle
        back = connection.default_channel.qos.settle()
    if back:
        logger.warning("Requeued %d message(s) that the previous %s had in hand", back, node)
    if preload is not None:
        preload()
        context.name.take()  # the claim may have expired during the imports
        context.agreement.join()
    gc.collect()
    gc.freeze()  # keeps imported objects out of the child's collections: 0.3 s for each unload
    worker = Parent(
        app=app,
        context=context,
        hostname=node,
        queues=list(queues) if queues else None,
        loglevel=log_level,
        quiet=True,
        without_mingle=True,  # takes 1 s to collect revokes from other workers; cancellations are in Redis
        without_gossip=True,  # the events of other workers are not used
    )
    worker.start()
    context.card.check()
    return worker.exitcode or 0


def _tasks(settings: Settings) -> Callable[[Celery], None]:
    from golem_chain.workers.child import tasks

    def register(app: Celery) -> None:
        tasks.register(app, settings)

    return register


def _import_models(settings: Settings) -> None:
    from golem_chain.workers.child.factory import preload

    preload(settings)


def set_up_log(level: str) -> None:
    """Configure logging to stderr, one line for each record: `12:30:01 INFO golem@box: …`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("multiprocessing").setLevel(logging.CRITICAL)  # billiard's; we log dead children ourselves
    signals.setup_logging.connect(_keep_logging, weak=False)  # a receiver stops Celery from configuring logging
    # Celery warns against running as root because of pickle; only JSON is accepted here.
    warnings.filterwarnings("ignore", category=platforms.SecurityWarning)


def _keep_logging(**_: Any) -> None:
    """Do nothing: logging is already configured."""
