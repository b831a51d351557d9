"""Starts a worker in this process: parent (takes, leases, acks) and one child (holds the models)."""

import gc
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from celery import Celery, platforms, signals
from celery.utils.log import get_logger

from golem_chain.broker.app import make_app
from golem_chain.broker.connection import check_broker, connect_once, reaching
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.shared.errors import BadSetting
from golem_chain.shared.settings import Settings
from golem_chain.workers.parent import control  # noqa: F401 - its command is registered by the import
from golem_chain.workers.parent.bootsteps import STEPS
from golem_chain.workers.parent.checkpoints import Agreement, Checkpoints, installed
from golem_chain.workers.parent.consumer import Parent, ReconnectingConsumer
from golem_chain.workers.parent.context import ParentContext, Shutdown
from golem_chain.workers.parent.node_name import NodeName, node_name

logger = get_logger(__name__)

#: Chatty at INFO: a line for each message received and ended. Flower shows the same.
_CHATTY = ("celery.worker.strategy", "celery.app.trace", "celery.worker.consumer.connection", "celery.pool")

#: How a stage that is done tries to send its result on while Redis is away: for about a minute.
_PATIENCE = {"max_retries": 60, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 1.0}


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
    """Run a worker until it is told to stop, and give its exit code. Raises BrokerAway where Redis does not answer,
    BadSetting for an unknown queue or a name that another worker uses, CheckpointsDiffer where live workers run others,
    ModelMissing.

    `queues`: the stages it serves, None for all. `register` adds the tasks to the app, None: `workers.child.tasks`.
    `preload` runs before the child is forked and must not touch a device; `checkpoints` are what must be the same on
    all boxes. Where they are None and the tasks are ours, `preload` imports the model libraries, so that a child that
    is forked again is ready at once, and the checkpoints are those of the store. To be called in the main thread.
    """
    set_up_log(log_level)
    node = node_name(name)
    unknown = [queue for queue in queues or () if queue not in STAGES]
    if unknown:
        raise BadSetting(f"There is no stage {unknown[0]}: --queues takes some of {', '.join(STAGES)}.")
    app = make_app(settings)
    check_broker(settings)
    client = connect_once(settings, socket_timeout=5)
    taken = NodeName(client, node)
    taken.take()
    ours = register is None
    if register is None:
        register, preload = _tasks(settings), preload or partial(_import_models, settings)
    try:
        agreement = Agreement(client, node, installed(settings, queues or STAGES) if ours else checkpoints or {})
        agreement.join()
        held = ConsumerState()
        context = ParentContext(held, taken, agreement, Shutdown(held, settings.stop_s))
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
    app.conf.task_publish_retry_policy = _PATIENCE  # a producer gives up sooner
    app.conf.result_backend_transport_options = {"retry_policy": _PATIENCE}
    app.steps["consumer"].update(STEPS)
    register(app)
    with reaching(settings), app.connection_for_write() as connection:  # before the slow imports: others may be free
        back = connection.default_channel.qos.settle()
    if back:
        logger.warning("Put back %d message(s) that the last %s had in hand", back, node)
    if preload is not None:
        preload()
        context.name.take()  # it may have run out meanwhile
        context.agreement.join()
    gc.collect()
    gc.freeze()  # a collection in the child shall not walk over what was imported here: 0.3 s for each unload
    worker = Parent(
        app=app,
        context=context,
        hostname=node,
        queues=list(queues) if queues else None,
        loglevel=log_level,
        quiet=True,
        without_mingle=True,  # it waits a second for the revokes of other workers; cancelled jobs are marked in Redis
        without_gossip=True,  # nothing here listens to the other workers' events
    )
    worker.start()
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
    """One line for each event, to stderr: `12:30:01 INFO golem@box: …`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("multiprocessing").setLevel(logging.CRITICAL)  # billiard's; we say ourselves who died
    signals.setup_logging.connect(_ours, weak=False)  # Celery leaves the log alone where somebody listens
    # Celery warns of root, for pickle's sake; we read JSON only.
    warnings.filterwarnings("ignore", category=platforms.SecurityWarning)


def _ours(**_: Any) -> None:
    """The log is set up already."""
