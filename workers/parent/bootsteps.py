"""Celery bootsteps of the parent, each with one timer in the event loop: respawn the child, reconcile with Redis, end
jobs of dead letters, renew name and checkpoints, shut down gracefully."""

import json
import os
import signal
from base64 import b64decode
from typing import Any

from celery import Celery, bootsteps
from celery.app.task import Context
from celery.utils.log import get_logger
from celery.worker import state
from redis.exceptions import RedisError

from golem_chain.broker import keys
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import CheckpointsDiffer, TooManyDeliveries
from golem_chain.workers.parent.admission import refuse_body, refuse_headers
from golem_chain.workers.parent.consumer import ReconnectingConsumer
from golem_chain.workers.parent.node_name import RENEW_S
from golem_chain.workers.parent.strategy import fail

logger = get_logger(__name__)


class Timed(bootsteps.StartStopStep):
    """A step that calls `tick` periodically while the connection is up."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    every_s = 1.0

    def __init__(self, consumer: ReconnectingConsumer, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._timer: Any = None

    def start(self, consumer: ReconnectingConsumer) -> None:
        """Start the timer. Celery calls this after each connect."""
        self._timer = consumer.timer.call_repeatedly(self.every_s, self.tick, (consumer,))

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """Do the periodic work."""
        raise NotImplementedError

    def stop(self, consumer: ReconnectingConsumer) -> None:
        """Cancel the timer. Celery calls this at shutdown and when the connection breaks."""
        del consumer
        if self._timer is not None:
            self._timer.cancel()

    shutdown = stop


class PoolWatchdog(Timed):
    """Detects a killed child within 0.25 s. Celery checks when the child's pipe closes, usually before the child can be
    reaped, and then not again for 5 s."""

    every_s = 0.25

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """Reap a dead child and start another."""
        consumer.pool.maintain_pool()


class Reconcile(Timed):
    """Reconciles messages in hand with Redis: after each connect, which also requeues what a killed worker of the same
    name had in hand, and after a time in which Redis accepted no writes."""

    def start(self, consumer: ReconnectingConsumer) -> None:
        """Reconcile immediately, then start the timer."""
        self._settle(consumer)
        super().start(consumer)

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """Reconcile if an acknowledgement or a requeue is pending."""
        held = consumer.context.held
        if held.unsettled or held.owed:
            try:
                self._settle(consumer)
            except consumer.connection_errors as exc:
                logger.warning("Acknowledgements are pending because Redis is unavailable: %s", exc)

    @staticmethod
    def _settle(consumer: ReconnectingConsumer) -> None:
        back = consumer.task_consumer.channel.qos.settle()
        if back:
            logger.warning("Requeued %d message(s) that %s had in hand", back, consumer.hostname)


class DeadLetterStep(Timed):
    """Ends the jobs of dead letters. Several workers may do it at once, because an Outcome is written only once. A
    letter stays in the list until its job has ended, so that a kill in between loses nothing."""

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """End the jobs of up to 20 letters."""
        try:
            with consumer.task_consumer.channel.conn_or_acquire() as client:
                for letter in client.lrange(keys.DYING, 0, 19):
                    if _end_job_of(consumer.app, letter):
                        client.lrem(keys.DYING, 0, letter)
        except consumer.connection_errors as exc:
            logger.warning("Dead letters are pending because Redis is unavailable: %s", exc)


def _end_job_of(app: Celery, letter: bytes) -> bool:
    """End the job of a dead letter; return False if it must be tried again."""
    try:
        told = json.loads(letter)
        message = json.loads(told["raw"])
        args, kwargs, embed = json.loads(b64decode(message["body"]))
        headers = message["headers"]
        if why := refuse_headers(headers) or refuse_body([args, kwargs, embed]):  # it may never have been admitted
            raise ValueError(why)
        request = Context({**headers, **(embed or {}), "args": args, "kwargs": kwargs})
        task = app.tasks[headers["task"]]
    except Exception:
        logger.exception("A dead letter belongs to no known task: it stays in %s", keys.DEAD)
        return True
    try:
        fail(
            task,
            request,
            TooManyDeliveries(
                f"The {told['queue']} stage was delivered {told['deliveries']} times without finishing "
                f"(the last time on {told['box'] or 'an unknown box'}: {told['error']}): see the worker's log."
            ),
        )
    except Exception:
        logger.exception("The job of dead letter %s could not be ended yet", headers["id"])
        return False
    return True


class KeepName(Timed):
    """Renews the claims on the node name and on queues, and publishes the worker's state. Fencing: a worker that lost
    its name, because it was suspended too long, shuts down."""

    every_s = RENEW_S

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """Renew."""
        context = consumer.context
        queues = sorted(consumer.task_consumer.channel.active_queues, key=STAGES.index)
        if not context.name.renew({**context.held.tells(), "queues": queues}, context.held.holds):
            logger.critical("Another worker has taken over the name %s: shutting down", consumer.hostname)
            context.shutdown.at_once()


class KeepAgreement(Timed):
    """Renews the registration of checkpoints. A worker that was suspended while others registered different ones shuts
    down."""

    every_s = RENEW_S

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """Renew."""
        context = consumer.context
        try:
            context.agreement.renew()
        except CheckpointsDiffer as exc:
            logger.critical("%s", exc.message)
            context.shutdown.at_once()
        except (RedisError, OSError):
            return  # Redis is down: no other worker can register either


class Stopper(Timed):
    """After SIGTERM or SIGINT: exits when nothing is in hand; after GOLEM_STOP_S it requeues the rest without counting
    a delivery."""

    every_s = 0.1

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """Continue a shutdown that was requested."""
        context = consumer.context
        if not context.shutdown.requested:
            return
        if not context.held.in_hand:
            state.should_stop = os.EX_OK
        elif context.shutdown.overdue:
            for child in consumer.pool._pool._pool:  # first, so that no requeued message also ends here
                os.kill(child.pid, signal.SIGKILL)
            back = consumer.task_consumer.channel.qos.give_back()
            logger.warning("Requeued %d unfinished message(s)", back)
            state.should_terminate = os.EX_OK


STEPS = (PoolWatchdog, Reconcile, DeadLetterStep, KeepName, KeepAgreement, Stopper)
