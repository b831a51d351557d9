"""Only messages that are ours reach Celery; every other is told why."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from golem_chain.workers.parent.admission import refuse_body, refuse_headers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OURS: dict[str, Any] = {
    "task": "golem.scribe",
    "id": "job.scribe",
    "root_id": "job.scribe",
    "parent_id": None,
    "eta": None,
    "expires": None,
    "retries": 0,
    "timelimit": [120.5, None],
    "sent_at": 1.5,
    "ignore_result": False,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
CALL: list[Any] = [[{"job": {}}], {}, {"callbacks": None, "errbacks": None, "chain": [{"task": "golem.oracle"}]}]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_our_messages_are_admitted() -> None:
    assert refuse_headers(OURS, NOW) == ""
    assert refuse_headers(OURS | {"retries": 2, "eta": (NOW + timedelta(seconds=8)).isoformat()}, NOW) == ""
    assert refuse_body(CALL) == ""


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"task": "celery.map"}, "none of ours"),
        ({"task": ["golem.scribe"]}, "none of ours"),
        ({"id": ""}, "its id ''"),
        ({"id": "job.oracle"}, "its id 'job.oracle'"),
        ({"id": ".scribe"}, "its id"),
        ({"id": 7}, "its id"),
        ({"id": "x" * 1000 + ".scribe"}, "its id"),
        ({"root_id": {}}, "root_id"),
        ({"retries": "3"}, "retries"),
        ({"retries": True}, "retries"),
        ({"retries": 10**9}, "retries"),
        ({"timelimit": 7}, "time limit"),
        ({"timelimit": [1]}, "time limit"),
        ({"timelimit": ["1", None]}, "time limit"),
        ({"timelimit": [float("nan"), None]}, "time limit"),
        ({"timelimit": [-1, None]}, "time limit"),
        ({"timelimit": [10**400, None]}, "time limit"),
        ({"sent_at": "now"}, "time of publishing"),
        ({"eta": "9999-12-31T23:59:59+00:00"}, "due at"),
        ({"eta": "tomorrow"}, "due at"),
        ({"eta": 7}, "due at"),
        ({"stamped_headers": 1.5}, "stamped_headers"),
        ({"compression": "application/x-gzip"}, "compression"),
        ({"shadow": "x"}, "shadow"),
        ({"x": nested(60)}, "nested"),
    ],
)
def test_headers_that_celery_would_stumble_over_or_obey_are_refused(headers: dict[str, Any], says: str) -> None:
    assert says in refuse_headers(OURS | headers, NOW)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (None, "no call"),
        ([[], {}], "no call"),
        ([{}, {}, {}], "no call"),
        ([[], {}, {"callbacks": [{"task": "golem.scribe"}]}], "callbacks"),
        ([[], {}, {"errbacks": 7}], "errbacks"),
        ([[], {}, {"chord": {"task": "x"}}], "chord"),
        ([[], {}, {"chain": [{"task": "os.system"}]}], "chain"),
        ([[], {}, {"chain": 7}], "chain"),
        ([[nested(100_000)], {}, {}], "nested"),
    ],
)
def test_bodies_that_run_something_else_are_refused(body: Any, says: str) -> None:
    assert says in refuse_body(body)
