"""A message: one stage of one job, in Celery's format. It names the job and holds nothing else of it: the job's record
is in Redis.

    text()  ─► queue ─► take.lua ─► Taken ─► celery_message() ─► Celery's worker

`take.lua` alone reads a message of a queue, which anyone may have written. What a worker gets is built from the checked
fields: no header, callback or argument of a stranger reaches Celery.

The states of a message. Each move is one script, so a crash leaves a message in one of them. Only the holder of a lease
moves a message in hand, except that anyone requeues it when the lease has expired.

| state | where | moved by | to |
|---|---|---|---|
| queued | in a lane of a queue | `take` | in hand; dead, if it is malformed or was delivered too often |
| in hand | in the unacknowledged hash, with a lease | `finish` | gone: the next one is queued, or the job has ended |
| | | `strike` | gone |
| | | `restore`, `expired` | queued, first in line of its lane |
| | | `bury` | dead |
| dead | in the dead letters | `retry` | gone: a new message is queued |
"""

import json
from base64 import b64encode
from typing import Any, NamedTuple
from uuid import uuid4

from golem_chain.broker.queues import EXCHANGE, STAGES, task_id, task_name
from golem_chain.shared.records import Lane

#: Placeholder in a message's headers that Redis replaces by the server's time.
SENT_AT_MARK = "@the server's time@"
#: Noted for a message that was put off because it takes long: it runs alone from then on, so that it is put off once.
PUT_OFF = "put off"
#: What an entry of the unacknowledged hash begins with: the lane from which the message came. Those without one, as
#: release 0.3 wrote them, are of the bulk lane.
BOOKED = frozenset(f"{stage}{lane}" for stage in STAGES for lane in ("", ":interactive"))
#: Celery's format of positional arguments, keyword arguments and callbacks: our tasks have none.
_BODY = b64encode(b"[[], {}, {}]").decode()


class Lease(NamedTuple):
    """The right to end a message in hand: a fencing token, which nobody has once the message was delivered again."""

    tag: str
    box: str  # node name of the holder
    delivery: int  # number of the delivery


class Taken(NamedTuple):
    """A message as `take.lua` returns it."""

    tag: str
    id: str  # Celery's task id: `<job>.<stage>`
    delivery: int
    retries: int  # earlier runs that ended with a retryable error
    delay_s: float  # to wait before it runs, from the moment it is taken
    waited_s: float  # since it was published, by the server's clock; 0: unknown
    alone: bool  # it must not share a batch
    lane: Lane = "bulk"  # the one that it was taken from

    @classmethod
    def of(cls, row: list[bytes]) -> "Taken":
        """Return the message of a row."""
        tag, id_, delivery, retries, delay_s, waited_s, alone, lane = row
        times = float(delay_s), float(waited_s)
        where: Lane = "interactive" if lane == b"interactive" else "bulk"
        return cls(tag.decode(), id_.decode(), int(delivery), int(float(retries)), *times, alone == b"1", where)

    @property
    def takes_all(self) -> bool:
        """Whether it runs as a batch of its own: `take.lua` returns no other with it."""
        return self.alone or self.retries > 0


def text(stage: str, job: str, *, retries: int = 0, delay_s: float = 0.0, alone: bool = False) -> str:
    """Return the message that runs a stage of a job. See `Taken` for the fields."""
    headers: dict[str, Any] = {"task": task_name(stage), "id": task_id(job, stage), "sent_at": SENT_AT_MARK}
    if retries:
        headers["retries"] = retries
    if delay_s:
        headers["delay_s"] = delay_s
    delivery = {"exchange": EXCHANGE.name, "routing_key": stage, "redelivered": alone}
    properties = {"delivery_tag": uuid4().hex, "body_encoding": "base64", "delivery_info": delivery}
    return json.dumps({**_FORMAT, "headers": headers, "properties": properties})


_FORMAT = {"body": _BODY, "content-type": "application/json", "content-encoding": "utf-8"}


def celery_message(queue: str, taken: Taken, box: str, due: str | None, *, pilot: bool = False) -> dict[str, Any]:
    """Return what kombu delivers to Celery for a message taken from a queue. `due`: ISO time to run it, None: now;
    `pilot`: of its take, only the cheapest job runs."""
    headers = {
        "task": task_name(queue),
        "id": taken.id,
        "lang": "py",
        "eta": due,
        "retries": taken.retries,
        "argsrepr": "…",
        "kwargsrepr": "…",
        "ignore_result": True,
        "waited_s": taken.waited_s,
        "lane": taken.lane,
        "pilot": pilot,
        "lease": [taken.tag, box, taken.delivery],
    }
    delivery = {"exchange": EXCHANGE.name, "routing_key": queue, "redelivered": taken.alone}
    properties = {
        "delivery_tag": taken.tag,
        "correlation_id": taken.id,
        "body_encoding": "base64",
        "delivery_info": delivery,
    }
    return {**_FORMAT, "headers": headers, "properties": properties}
