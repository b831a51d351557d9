"""Queue names, task names and routes: the contract by which broker and workers meet.

A fourth model is one more entry in STAGES, in the place where it comes in the chain.
"""

from kombu import Exchange, Queue

#: The stages in the order of the chain. Queue names are the stage names.
STAGES = ("scribe", "interpreter", "oracle")

EXCHANGE = Exchange("golem", type="direct")
QUEUES = tuple(Queue(stage, EXCHANGE, routing_key=stage) for stage in STAGES)


def task_name(stage: str) -> str:
    """`golem.scribe`, as Flower shows it."""
    return f"golem.{stage}"


def task_id(job: str, stage: str) -> str:
    """`<job>.scribe`: the Celery task id of one stage of a job."""
    return f"{job}.{stage}"


ROUTES = {task_name(stage): {"queue": stage, "routing_key": stage} for stage in STAGES}
