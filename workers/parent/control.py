"""The remote control command `golem_state`.

    app.control.inspect()._request("golem_state")      celery -A … inspect golem_state

The parent replies from `Keys.box`, which the child writes, so the command works while the child is busy.
"""

import time
from typing import Any

from celery.worker.control import inspect_command

from golem_chain.broker.monitoring import status
from golem_chain.shared.json_object import JsonObject


@inspect_command(name="golem_state")
def golem_state(state: Any, **_: Any) -> JsonObject:
    """Return resident models, memory, loads and the last event of this worker."""
    consumer = state.consumer
    try:
        channel = consumer.task_consumer.channel
        with channel.conn_or_acquire() as client:
            fields = client.hgetall(channel.keys.box(state.hostname))
    except consumer.connection_errors as exc:
        return {"error": f"Redis is unavailable: {exc}"}
    return status.of_box({key.decode(): value.decode() for key, value in fields.items()}, time.time())
