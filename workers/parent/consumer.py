"""Celery's consumer and worker program, where ours do otherwise: they reconnect sooner and forget nothing in hand."""

from typing import Any

from celery import platforms
from celery.apps.worker import Worker
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.consumer import Consumer

from golem_chain.workers.parent.context import ParentContext

logger = get_logger(__name__)


class ReconnectingConsumer(Consumer):
    """Celery's consumer, which is quick to come back, forgets nothing it works on and buries what it cannot read."""

    def __init__(self, *args: Any, context: ParentContext, **kwargs: Any) -> None:
        self.context = context  # before the steps are made, which reach it here
        super().__init__(*args, **kwargs)

    def ensure_connected(self, conn: Any) -> Any:
        """Try for ever, at most 2 s apart: the default's 30 s would be felt after a long absence."""

        def away(exc: Exception, interval: float) -> None:
            del interval
            if self.broker_connection_retry_attempt % 15 == 0:
                logger.error("Redis is away, trying again until it is back: %s", exc)
            self.broker_connection_retry_attempt += 1

        conn = conn.ensure_connection(
            away, None, interval_start=0.2, interval_step=0.3, interval_max=2, callback=self.context.shutdown.while_away
        )
        self.first_connection_attempt = False
        self.broker_connection_retry_attempt = 0
        return conn

    def on_close(self) -> None:
        """The connection is gone: what the child works on is still in hand, the rest is not."""
        super().on_close()
        self.context.held.keep(r.message.delivery_tag for r in tuple(state.active_requests))

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """A dead letter; Celery would drop the message."""
        logger.error("A message cannot be decoded: %r", exc)
        message.reject_log_error(logger, self.connection_errors)


class Parent(Worker):
    """Celery's worker program with our signals instead of its own."""

    def __init__(self, *args: Any, context: ParentContext, **kwargs: Any) -> None:
        self._context = context
        super().__init__(*args, **kwargs)

    def install_platform_tweaks(self, worker: Any) -> None:
        """SIGTERM and SIGINT stop in good order."""
        del worker
        for name in ("SIGTERM", "SIGINT"):
            platforms.signals[name] = self._context.shutdown.on_signal
