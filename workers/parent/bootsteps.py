"""Celery bootsteps of the parent, each with one timer in the event loop: respawn the child, end what hangs, reconcile
with Redis, end jobs of dead letters, renew name and checkpoints, shut down gracefully."""

import os
import signal
from time import monotonic
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker import state
from redis.exceptions import RedisError

from golem_chain.broker.connection import is_absence
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.dead_letter import Letter
from golem_chain.shared.errors import CheckpointsDiffer, TooManyDeliveries
from golem_chain.workers.child.lifeline import Lifeline
from golem_chain.workers.parent.consumer import ReconnectingConsumer
from golem_chain.workers.parent.node_name import RENEW_S

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


def _lifelines(consumer: ReconnectingConsumer) -> set[Lifeline]:
    """Those of the tasks: one, unless tests register several."""
    return {task.runtime.lifeline for task in consumer.app.tasks.values() if hasattr(task, "runtime")}


class PoolWatchdog(Timed):
    """Detects a killed child within 0.25 s. Celery checks when the child's pipe closes, usually before the child can be
    reaped, and then not again for 5 s."""

    every_s = 0.25

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """Reap a dead child and start another."""
        consumer.pool.maintain_pool()


class HangWatch(Timed):
    """Ends what has shown no sign of life for longer than its stage may take, in the way of billiard's own time limit:
    the batch's callbacks, then a kill. That limit is set once for a batch, before the length of its audio is known."""

    def __init__(self, consumer: ReconnectingConsumer, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._looked_at = self._judges_from = 0.0

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """End an overdue job of the pool. If this process was suspended, the child probably was: it gets as long."""
        now = monotonic()
        late_s = now - self._looked_at - self.every_s if self._looked_at else 0.0
        self._looked_at = now
        if late_s > self.every_s:
            self._judges_from = now + late_s
        if now < self._judges_from:
            return
        lifelines = _lifelines(consumer)
        pool = consumer.pool._pool
        for job in list(pool._cache.values()):
            for lifeline in lifelines:
                allowed_s = lifeline.overdue(job._worker_pid)
                if allowed_s is not None and not job.ready():
                    job._timeout = allowed_s
                    pool._on_hard_timeout(job._job)


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
        context = consumer.context
        try:
            with consumer.task_consumer.channel.conn_or_acquire() as client:
                for body in client.lrange(context.keys.dying, 0, 19):
                    letter = Letter(body)
                    if letter.job:
                        self._end(context.outcomes, letter.job, letter)
                    client.lrem(context.keys.dying, 0, body)
        except (*consumer.connection_errors, RedisError) as exc:
            logger.warning("Dead letters are pending because Redis is unavailable: %s", exc)

    @staticmethod
    def _end(outcomes: Outcomes, job: str, letter: Letter) -> None:
        told = letter.summary()
        try:
            outcomes.fail(
                job,
                TooManyDeliveries(
                    f"The {told['queue']} stage was delivered {told['deliveries']} times without finishing "
                    f"(the last time on {told['box'] or 'an unknown box'}: {told['error']}): see the worker's log."
                ),
            )
        except RedisError as exc:
            if is_absence(exc):
                raise
            logger.exception("The job of dead letter %s cannot be ended: its keys are damaged", letter.id)


class Deadlines(Timed):
    """Ends the jobs whose deadline has passed. Several workers may do it at once; one that runs is interrupted as if it
    were cancelled."""

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """End up to 100 jobs."""
        context = consumer.context
        try:
            for job in context.outcomes.overdue():
                self._expire(context.outcomes, job)
        except (*consumer.connection_errors, RedisError) as exc:
            logger.warning("Deadlines are not kept because Redis is unavailable: %s", exc)

    @staticmethod
    def _expire(outcomes: Outcomes, job: str) -> None:
        try:
            outcomes.expire(job)
        except RedisError as exc:
            if is_absence(exc):
                raise
            logger.exception("A job cannot be ended at its deadline: its keys are damaged")


class KeepName(Timed):
    """Renews the claims on the node name and on queues, and publishes the worker's state. Fencing: a worker that lost
    its name, because it was suspended too long, shuts down."""

    every_s = RENEW_S

    def start(self, consumer: ReconnectingConsumer) -> None:
        """Tell at once which queues are served, then start the timer."""
        self.tick(consumer)
        super().start(consumer)

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """Renew."""
        context = consumer.context
        served = consumer.task_consumer.channel.active_queues or consumer.app.amqp.queues.consume_from
        queues = sorted(served, key=STAGES.index)  # at the start none is active yet
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
    """After SIGTERM or SIGINT: the child finishes what it has begun and hands the rest back; exits when nothing is in
    hand, and after GOLEM_STOP_S requeues what is, without counting a delivery."""

    every_s = 0.1

    def tick(self, consumer: ReconnectingConsumer) -> None:
        """Continue a shutdown that was requested."""
        context = consumer.context
        if not context.shutdown.requested:
            return
        for lifeline in _lifelines(consumer):
            lifeline.stop()
        if not context.held.in_hand:
            state.should_stop = os.EX_OK
        elif context.shutdown.overdue:
            for child in consumer.pool._pool._pool:  # first, so that no requeued message also ends here
                os.kill(child.pid, signal.SIGKILL)
            back = consumer.task_consumer.channel.qos.give_back()
            logger.warning("Requeued %d unfinished message(s)", back)
            state.should_terminate = os.EX_OK


STEPS = (PoolWatchdog, HangWatch, Reconcile, DeadLetterStep, Deadlines, KeepName, KeepAgreement, Stopper)
