"""Which checkpoints the live workers run, as they have agreed on them."""

import json

import redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES


def read(client: redis.Redis, keys: Keys) -> dict[str, str]:
    """Return the id of each stage's checkpoint, such as `whisper-tiny.en`, in chain order; of a folder its name, since
    paths of workers are nobody's business. A stage that no live worker serves has none. A Redis user who may not ask,
    such as a producer's, is told of none. Raises redis.RedisError if Redis fails."""
    with client.pipeline(transaction=False) as pipe:
        for stage in STAGES:
            pipe.hget(keys.checkpoint(stage), "checkpoint")
        answers = pipe.execute(raise_on_error=False)
    found: dict[str, str] = {}
    for stage, body in zip(STAGES, answers, strict=True):
        if isinstance(body, Exception) and not isinstance(body, redis.exceptions.NoPermissionError):
            raise body
        if id := _id(body):
            found[stage] = id
    return found


def _id(body: object) -> str | None:
    """Return the id of what a worker has written, None if it is not that."""
    try:
        told = json.loads(body) if isinstance(body, bytes | str) else None
    except ValueError:
        return None
    id = told.get("id") if isinstance(told, dict) else None
    if not isinstance(id, str):
        return None
    return id.rpartition("/")[2] if id.startswith("/") else id
