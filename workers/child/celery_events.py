"""Tells Celery's event stream of loads, unloads and out-of-memories, so that Flower and every other listener see them.

golem-load, golem-unload, golem-oom: the fields of `workers.residency.events.Event`; sent from the child, at once
"""

import logging
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import KombuError

logger = logging.getLogger(__name__)


class Announcer:
    """Sends events in the name of a node, over the connections by which its tasks send theirs."""

    def __init__(self, app: Celery, node: str) -> None:
        self._app, self._node = app, node

    def tell(self, event: dict[str, Any]) -> None:
        """Send one. It is tried once: a model shall not wait because nobody can be told of it."""
        try:
            with self._app.events.default_dispatcher(hostname=self._node) as dispatcher:
                dispatcher.send(f"golem-{event['kind']}", **event)
        except (redis.RedisError, KombuError, OSError) as exc:
            logger.warning("The event stream misses a %s: %s", event["kind"], exc)
