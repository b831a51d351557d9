"""Celery's consumer and worker classes with faster reconnects; messages in hand survive a lost connection."""

from collections.abc import Callable
from typing import Any

from celery import platforms
from celery.apps.worker import Worker
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.consumer import Consumer

from golem_chain.workers.parent.admission import OURS, refuse_body, refuse_headers, refuse_nesting
from golem_chain.workers.parent.context import ParentContext

logger = get_logger(__name__)


class ReconnectingConsumer(Consumer):
    """A consumer that reconnects quickly, keeps its messages in hand and makes undecodable messages dead letters."""

    def __init__(self, *args: Any, context: ParentContext, **kwargs: Any) -> None:
        self.context = context  # set first: the bootsteps use it
        super().__init__(*args, **kwargs)

    def ensure_connected(self, conn: Any) -> Any:
        """Retry forever, every 2 s at most; Celery's default grows to 30 s."""

        def away(exc: Exception, interval: float) -> None:
            del interval
            if self.broker_connection_retry_attempt % 15 == 0:
                logger.error("Redis is unavailable, retrying until it is back: %s", exc)
            self.broker_connection_retry_attempt += 1

        conn = conn.ensure_connection(
            away, None, interval_start=0.2, interval_step=0.3, interval_max=2, callback=self.context.shutdown.while_away
        )
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

    def update_strategies(self) -> None:
        """As Celery's, but for our tasks only: its own ones (`celery.map`, `celery.chord_unlock`…) run what a message
        says."""
        super().update_strategies()
        for name in set(self.strategies) - OURS:
            del self.strategies[name]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """As Celery's, but what is not ours becomes a dead letter before Celery acts on it."""
        handle: Callable[[Any], None] = super().create_task_handler(*args, **kwargs)

        def admit(message: Any) -> None:
            try:
                why = refuse_headers(message.headers) or refuse_nesting(message.properties)
                why = why or refuse_body(message.payload)
            except Exception as exc:  # noqa: BLE001  (untrusted content, which kombu decodes)
                self.on_decode_error(message, exc)
                return
            if why:
                logger.error("A message is refused: %s", why)
                message.reject_log_error(logger, self.connection_errors)
            else:
                handle(message)

        return admit


class Parent(Worker):
    """Celery's worker with our signal handlers."""

    def __init__(self, *args: Any, context: ParentContext, **kwargs: Any) -> None:
        self._context = context
        super().__init__(*args, **kwargs)

    def install_platform_tweaks(self, worker: Worker) -> None:
        """Make SIGTERM and SIGINT shut down gracefully."""
        del worker
        for name in ("SIGTERM", "SIGINT"):
            platforms.signals[name] = self._context.shutdown.on_signal
