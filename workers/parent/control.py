"""What a worker answers by remote control, beside Celery's own commands: `golem_state`.

    app.control.inspect()._request("golem_state")      celery -A … inspect golem_state

The parent answers, from what the child wrote to `golem:box:<node>`: also while the child is busy.
"""

import time
from typing import Any

from celery.worker.control import inspect_command

from golem_chain.broker import keys
from golem_chain.broker.monitoring import status


@inspect_command(name="golem_state")
def golem_state(state: Any, **_: Any) -> dict[str, Any]:
    """Resident models, memory, loads and the last event of this box."""
    consumer = state.consumer
    try:
        with consumer.task_consumer.channel.conn_or_acquire() as client:
            fields = client.hgetall(keys.box(state.hostname))
    except consumer.connection_errors as exc:
        return {"error": f"Redis does not answer: {exc}"}
    return status.of_box({key.decode(): value.decode() for key, value in fields.items()}, time.time())
