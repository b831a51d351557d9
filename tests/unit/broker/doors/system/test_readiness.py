"""Readiness is decided from what is seen: the first thing that is missing is named, with its remedy."""

import pytest

from golem_chain.broker.doors.system.readiness import Local, readiness

STAGES = ["scribe", "interpreter", "oracle"]
BOX = {"queues": STAGES, "resident": [], "in_hand": 0}


def seen(*boxes):
    return {"queues": dict.fromkeys(STAGES), "boxes": {f"b{n}": box for n, box in enumerate(boxes)}}


@pytest.mark.parametrize(
    ("overview", "local", "told"),
    [
        (seen(BOX), None, (True, "reachable", 1, "on_demand", "")),
        (seen(BOX | {"resident": ["scribe"]}, BOX), None, (True, "reachable", 2, "resident", "")),
        (seen(BOX | {"queues": ["scribe"]}), None, (True, "reachable", 1, "on_demand", "serves interpreter, oracle")),
        (seen({"in_hand": 3}), None, (False, "reachable", 0, "none", "golem worker")),
        (seen(), None, (False, "reachable", 0, "none", "golem worker")),
        (None, None, (False, "away", 0, "none", "GOLEM_REDIS_URL")),
        (seen(), Local("pulling", "Models are pulled: 3 of 8."), (False, "reachable", 0, "pulling", "3 of 8")),
        (None, Local("starting", None), (False, "away", 0, "none", "starting")),
        (seen(), Local("failed", "The disk is full: free 2 GB."), (False, "reachable", 0, "none", "disk is full")),
        (seen(), Local("running", "It runs."), (False, "reachable", 0, "none", "worker is starting")),
        (seen(BOX), Local("running", None), (True, "reachable", 1, "on_demand", "")),
    ],
)
def test_what_is_missing_is_named(overview, local, told):
    found = readiness(overview, local)
    assert found[:4] == told[:4]
    assert told[4] in (found.sentence or "")
    assert bool(found.sentence) == bool(told[4])
