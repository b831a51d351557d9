"""Whether the system serves: a pure decision, and the sentence that says what to do if it does not."""

from typing import Literal, NamedTuple, TypeAlias

from golem_chain.shared.json_object import JsonObject

#: Where the models are: `resident` in a worker; `on_demand`: loaded when a job needs one; `pulling`: downloaded for the
#: first start; `none`: there is no worker.
Models: TypeAlias = Literal["resident", "on_demand", "pulling", "none"]


class Local(NamedTuple):
    """The state of a system that lives with the door."""

    phase: str  # `pulling`, `starting`, `running` or `failed`
    sentence: str | None  # what is going on, or has to be done


class Readiness(NamedTuple):
    """The answer of `/ready`."""

    ready: bool
    redis: Literal["reachable", "away"]
    workers: int
    models: Models
    sentence: str | None


def readiness(seen: JsonObject | None, local: Local | None) -> Readiness:
    """Decide. `seen`: an overview of the system, None if Redis is away; `local`: None for a door beside a system."""
    boxes = list(seen["boxes"].values()) if seen else []
    live = [box for box in boxes if box.keys() - {"in_hand"}]  # one without a report has gone
    stages = {stage for box in live for stage in box.get("queues", ())}
    unserved = [stage for stage in seen["queues"] if stage not in stages] if seen else []
    redis: Literal["reachable", "away"] = "away" if seen is None else "reachable"
    models: Models = "none"
    if local and local.phase == "pulling":
        models = "pulling"
    elif live:
        models = "resident" if any(box.get("resident") for box in live) else "on_demand"
    return Readiness(bool(live), redis, len(live), models, _sentence(seen, live, unserved, local))


def _sentence(seen: JsonObject | None, live: list[JsonObject], unserved: list[str], local: Local | None) -> str | None:
    if local and local.phase != "running":
        return local.sentence or f"The local system is {local.phase}."
    if seen is None:
        return "Redis cannot be reached: check GOLEM_REDIS_URL and that the server is running; jobs wait until it is."
    if not live and local:
        return "The worker is starting."
    if not live:
        return "No worker is running: start golem worker; jobs that come in wait until then."
    if unserved:
        return f"No worker serves {', '.join(unserved)}: start one with --queues; jobs wait there until then."
    return None
