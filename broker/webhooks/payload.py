"""The body of a message: the end of a job as JSON, the same bytes at each try."""

import hashlib
import json
from datetime import UTC, datetime

from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Outcome, Transcript

#: Bytes of a body. A longer one is shortened: Standard Webhooks advises 20 kB, and each waits in Redis for up to a day.
BODY_MOST = 256 * 1024


def message_id(job: str, entry: str) -> str:
    """Return the id of the message about one end of a job. A job that is retried ends again, with another entry of the
    outbox. The hash has no full stop, which would make what is signed ambiguous."""
    return "msg_" + hashlib.sha256(f"{job}:{entry}".encode()).hexdigest()[:32]


def body(outcome: Outcome, entry: str) -> bytes:
    """Return the body. `entry`: the id in the outbox, whose first part is when the job ended, Unix milliseconds of the
    server. If it is above BODY_MOST, the segments are left out and `shortened` is true; if that is not enough, all
    answers are."""
    ended_ms = int(entry.partition("-")[0])
    ended = datetime.fromtimestamp(ended_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told: JsonObject = {"type": f"job.{outcome.state}", "timestamp": ended}
    whole = _bytes(told, outcome)
    if len(whole) <= BODY_MOST:
        return whole
    told["shortened"] = True
    if outcome.transcript:
        less = Transcript(**{**dict(outcome.transcript), "segments": ()})
        outcome = outcome.model_copy(update={"transcript": less})
    fitting = _bytes(told, outcome)
    if len(fitting) <= BODY_MOST:
        return fitting
    return _bytes(told, Outcome(job=outcome.job, name=outcome.name[:1000], state=outcome.state, error=outcome.error))


def _bytes(told: JsonObject, outcome: Outcome) -> bytes:
    data = {**told, "data": outcome.model_dump(mode="json")}
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
