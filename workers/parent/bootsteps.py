"""What our worker does beside Celery's consumer: see dead children, settle the books, end dead letters, keep its name,
stop in good order. Each is one bootstep with one timer in the parent's event loop."""

import json
import os
import signal
from base64 import b64decode
from typing import Any

from celery import bootsteps
from celery.app.task import Context
from celery.utils.log import get_logger
from celery.worker import state
from redis.exceptions import RedisError

from golem_chain.broker import keys
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import CheckpointsDiffer, TooManyDeliveries
from golem_chain.workers.parent.context import ParentContext
from golem_chain.workers.parent.node_name import RENEW_S
from golem_chain.workers.parent.strategy import fail

logger = get_logger(__name__)


class Timed(bootsteps.StartStopStep):
    """A step that does something again and again while the connection stands."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    every_s = 1.0

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Begin; Celery calls this after each connection."""
        self._timer = consumer.timer.call_repeatedly(self.every_s, self.tick, (consumer,))

    def tick(self, consumer: Any) -> None:
        """What is done."""
        raise NotImplementedError

    def stop(self, consumer: Any) -> None:
        """End; Celery calls this at shutdown and when the connection broke."""
        del consumer
        if self._timer is not None:
            self._timer.cancel()

    shutdown = stop


class PoolWatchdog(Timed):
    """See a killed child at once. Celery looks when the child's pipe closes, mostly before it can be waited for, and
    then not for 5 s."""

    every_s = 0.25

    def tick(self, consumer: Any) -> None:
        """Reap and respawn."""
        consumer.pool.maintain_pool()


class Reconcile(Timed):
    """The books and our hands say the same: after each connection, which is how a worker of the same name takes up
    what its predecessor had in hand when it was killed; and after a while in which Redis took no writes."""

    def start(self, consumer: Any) -> None:
        """Reconcile at once."""
        self._settle(consumer)
        super().start(consumer)

    def tick(self, consumer: Any) -> None:
        """Reconcile where something is left."""
        held = consumer.context.held
        if held.unsettled or held.owed:
            try:
                self._settle(consumer)
            except consumer.connection_errors as exc:
                logger.warning("The books wait, Redis is away: %s", exc)

    @staticmethod
    def _settle(consumer: Any) -> None:
        back = consumer.task_consumer.channel.qos.settle()
        if back:
            logger.warning("Put back %d message(s) that were in the hands of %s", back, consumer.hostname)


class DeadLetterStep(Timed):
    """End the jobs of dead letters. Any worker may do it, and two may do it at once: the end of a job is written once.
    A letter stays in the list until its job has ended, so that a kill here loses nothing."""

    def tick(self, consumer: Any) -> None:
        """End those that wait."""
        try:
            with consumer.task_consumer.channel.conn_or_acquire() as client:
                for letter in client.lrange(keys.DYING, 0, 19):
                    if _end_job_of(consumer.app, letter):
                        client.lrem(keys.DYING, 0, letter)
        except consumer.connection_errors as exc:
            logger.warning("Dead letters wait, Redis is away: %s", exc)


def _end_job_of(app: Any, letter: bytes) -> bool:
    """End the job of a dead letter; False where that is still to be done."""
    try:
        told = json.loads(letter)
        message = json.loads(told["raw"])
        args, kwargs, embed = json.loads(b64decode(message["body"]))
        headers = message["headers"]
        request = Context({**headers, **(embed or {}), "args": args, "kwargs": kwargs})
        task = app.tasks[headers["task"]]
    except Exception:
        logger.exception("A dead letter names no task of ours: it stays in %s", keys.DEAD)
        return True
    try:
        fail(
            task,
            request,
            TooManyDeliveries(
                f"The {told['queue']} stage was given to a worker {told['deliveries']} times and ended none of them "
                f"(the last time on {told['box'] or 'an unknown box'}: {told['error']}): see the worker's log."
            ),
        )
    except Exception:
        logger.exception("The job of dead letter %s could not be ended yet", headers["id"])
        return False
    return True


class KeepName(Timed):
    """Renew the claim on the node's name and on the queues it serves, and tell how it stands; a worker that lost its
    name (it slept too long) must not go on under it."""

    every_s = RENEW_S

    def tick(self, consumer: Any) -> None:
        """Renew."""
        context: ParentContext = consumer.context
        queues = sorted(consumer.task_consumer.channel.active_queues, key=STAGES.index)
        if not context.name.renew({**context.held.tells(), "queues": queues}, context.held.holds):
            logger.critical("The name %s belongs to another worker now: this one stops", consumer.hostname)
            context.shutdown.at_once()


class KeepAgreement(Timed):
    """Renew the agreement on checkpoints; a worker that slept while others took up something else must not go on."""

    every_s = RENEW_S

    def tick(self, consumer: Any) -> None:
        """Renew."""
        context: ParentContext = consumer.context
        try:
            context.agreement.renew()
        except CheckpointsDiffer as exc:
            logger.critical("%s", exc.message)
            context.shutdown.at_once()
        except (RedisError, OSError):
            return  # away: nobody can register anything else either


class Stopper(Timed):
    """After SIGTERM or SIGINT: end when nothing is in hand, and hand back what is left, unharmed and uncounted, when
    the time for it is over."""

    every_s = 0.1

    def tick(self, consumer: Any) -> None:
        """Go on stopping."""
        context: ParentContext = consumer.context
        if not context.shutdown.requested:
            return
        if not context.held.in_hand:
            state.should_stop = os.EX_OK
        elif context.shutdown.overdue:
            for child in consumer.pool._pool._pool:  # first: what is handed back must not end here as well
                os.kill(child.pid, signal.SIGKILL)
            back = consumer.task_consumer.channel.qos.give_back()
            logger.warning("Handed back %d message(s)", back)
            state.should_terminate = os.EX_OK


STEPS = (PoolWatchdog, Reconcile, DeadLetterStep, KeepName, KeepAgreement, Stopper)
