"""Which checkpoints the live workers run, as they have agreed on them."""

import json
from typing import TYPE_CHECKING

from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES

if TYPE_CHECKING:
    import redis


def read(client: "redis.Redis", keys: Keys) -> dict[str, str]:
    """Return the id of each stage's checkpoint, such as `whisper-tiny.en`, in chain order; a stage that no live worker
    serves has none. Raises redis.RedisError if Redis fails."""
    with client.pipeline(transaction=False) as pipe:
        for stage in STAGES:
            pipe.hget(keys.checkpoint(stage), "checkpoint")
        found = {stage: _id(body) for stage, body in zip(STAGES, pipe.execute(), strict=True)}
    return {stage: id for stage, id in found.items() if id}


def _id(body: bytes | str | None) -> str | None:
    """Return the id of what a worker has written, None if it is not that."""
    try:
        told = json.loads(body or "{}")
    except ValueError:
        return None
    id = told.get("id") if isinstance(told, dict) else None
    return id if isinstance(id, str) else None
