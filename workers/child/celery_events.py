"""Publishes loads, unloads and out-of-memories to Celery's event stream, for Flower and other consumers.

golem-load, golem-unload, golem-oom: with the fields of `workers.residency.events.Event`, sent by the child immediately
"""

import logging

import redis
from celery import Celery
from kombu.exceptions import KombuError

from golem_chain.shared.json_object import JsonObject

logger = logging.getLogger(__name__)


class Announcer:
    """Sends events under a node name, over the connections that the tasks use."""

    def __init__(self, app: Celery, node: str) -> None:
        self._app, self._node = app, node

    def tell(self, event: JsonObject) -> None:
        """Send an event without retries, so that no model waits for monitoring."""
        try:
            with self._app.events.default_dispatcher(hostname=self._node) as dispatcher:
                dispatcher.send(f"golem-{event['kind']}", **event)
        except (redis.RedisError, KombuError, OSError) as exc:
            logger.warning("The %s event was not sent to the event stream: %s", event["kind"], exc)
