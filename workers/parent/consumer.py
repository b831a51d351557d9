"""Celery's consumer and worker classes with faster reconnects; messages in hand survive a lost connection."""

from time import sleep
from typing import Any

from celery import platforms
from celery.apps.worker import Worker
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.consumer import Consumer

from golem_chain.workers.parent.context import ParentContext

logger = get_logger(__name__)


class ReconnectingConsumer(Consumer):
    """A consumer that reconnects quickly, keeps its messages in hand and makes undecodable messages dead letters."""

    broker_connection_retry_attempt: int

    def __init__(self, *args: Any, context: ParentContext, **kwargs: Any) -> None:
        self.context = context  # set first: the bootsteps use it
        super().__init__(*args, **kwargs)

    def ensure_connected(self, conn: Any) -> Any:
        """Retry until Redis answers and accepts writes, every 2 s at most; Celery's default grows to 30 s."""

        def away(exc: Exception, interval: float) -> None:
            del interval
            if self.broker_connection_retry_attempt % 15 == 0:
                logger.error("Redis is unavailable, retrying until it is back: %s", exc)
            self.broker_connection_retry_attempt += 1

        while True:
            conn = conn.ensure_connection(
                away,
                None,
                interval_start=0.2,
                interval_step=0.3,
                interval_max=2,
                callback=self.context.shutdown.while_away,
            )
            try:
                with conn.channel() as channel:
                    channel.client.set(self.context.keys.probe, "", px=1000)
                break
            except self.connection_errors as exc:  # full, or read-only during a failover
                away(exc, 0)
                self.context.shutdown.while_away()
                sleep(min(0.2 + 0.3 * self.broker_connection_retry_attempt, 2))
        self.first_connection_attempt = False
        self.broker_connection_retry_attempt = 0
        return conn

    def on_close(self) -> None:
        """Keep in hand what the child works on, and nothing else: the connection is lost."""
        super().on_close()
        self.context.held.keep(r.message.delivery_tag for r in tuple(state.active_requests))

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Make the message a dead letter; Celery would drop it."""
        logger.error("A message cannot be decoded: %r", exc)
        message.reject_log_error(logger, self.connection_errors)


class Parent(Worker):
    """Celery's worker with our signal handlers."""

    broker_connection_retry_attempt: int

    def __init__(self, *args: Any, context: ParentContext, **kwargs: Any) -> None:
        self._context = context
        super().__init__(*args, **kwargs)

    def install_platform_tweaks(self, worker: Worker) -> None:
        """Make SIGTERM and SIGINT shut down gracefully."""
        del worker
        for name in ("SIGTERM", "SIGINT"):
            platforms.signals[name] = self._context.shutdown.on_signal
