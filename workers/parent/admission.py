"""Decides whether a message may reach Celery. Anyone who may submit can push anything into a queue.

Celery acts on headers and on parts of the body that our messages never use: callbacks, chords, stamps, expiry. Wrong
types in them raise in the event loop, which would end the worker, or run what a forger says.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from golem_chain.broker.queues import STAGES, job_of, task_name

#: Levels of nested values. Ours have about ten; much deeper ones cannot be sent to the child, as pickle is recursive.
NESTED_MOST = 50
#: Characters of a message's id.
ID_MOST = 500
#: A retry is due within seconds, by our own clock.
DUE_WITHIN = timedelta(hours=1)

#: Times and time limits above this are nonsense, and would overflow.
SECONDS_MOST = 1e10

OURS = frozenset(map(task_name, STAGES))
#: Headers and parts of the body (`embed`) that Celery or kombu act on, and that our messages leave empty.
_UNUSED = ("compression", "expires", "group", "group_index", "shadow", "ignore_result", "stamps", "stamped_headers")
_UNUSED_EMBED = ("callbacks", "errbacks", "chord")


def refuse_headers(headers: Mapping[str, Any], now: datetime | None = None) -> str:
    """Return why these headers are not ours, empty if they are. Ask before the body is decoded: it can be a bomb."""
    task, id_ = headers.get("task"), headers.get("id")
    if not isinstance(task, str) or task not in OURS:
        return f"its task {_shown(task)} is none of ours"
    if not isinstance(id_, str) or len(id_) > ID_MOST or not job_of(id_) or task_name(id_.rpartition(".")[2]) != task:
        return f"its id {_shown(id_)} is none of a job of this stage"
    for name in _UNUSED:
        if headers.get(name):
            return f"it has the header {name}"
    for name in ("root_id", "parent_id"):
        if not isinstance(headers.get(name), str | None):
            return f"its {name} is {_shown(headers[name])}"
    retries, sent_at, limits = (headers.get(name) for name in ("retries", "sent_at", "timelimit"))
    if retries and not (type(retries) is int and 0 < retries < 1000):
        return f"its number of retries is {_shown(retries)}"
    if not _is_seconds(sent_at):
        return f"its time of publishing is {_shown(sent_at)}"
    if limits and not (isinstance(limits, list) and len(limits) == 2 and all(map(_is_seconds, limits))):
        return f"its time limit is {_shown(limits)}"
    return _refuse_eta(headers.get("eta"), now or datetime.now(UTC)) or refuse_nesting(headers)


def refuse_body(body: Any) -> str:
    """Return why this decoded body is not ours, empty if it is."""
    match body:
        case [list(), dict(), dict() as embed]:
            pass
        case _:
            return "its body is no call of a task"
    for name in _UNUSED_EMBED:
        if embed.get(name):
            return f"it has {name}"
    later = embed.get("chain") or []
    if not isinstance(later, list) or not all(isinstance(step, dict) and step.get("task") in OURS for step in later):
        return "its chain has tasks that are none of ours"
    return refuse_nesting(body)


def _refuse_eta(eta: Any, now: datetime) -> str:
    try:
        late = eta is not None and datetime.fromisoformat(eta) > now + DUE_WITHIN
    except (TypeError, ValueError, OverflowError):
        late = True
    return f"it is due at {_shown(eta)}" if late else ""


def refuse_nesting(value: object) -> str:
    """Return why this part of a message cannot be sent to the child, empty if it can."""
    level = [value]
    for _ in range(NESTED_MOST):
        inner = [one for one in level if isinstance(one, dict | list)]
        level = [part for one in inner for part in (one.values() if isinstance(one, dict) else one)]
        if not level:
            return ""
    return f"its values are nested more than {NESTED_MOST} deep"


def _is_seconds(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value < SECONDS_MOST)


def _shown(value: object) -> str:
    return f"{str(value)[:80]!a}"
