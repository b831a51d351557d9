"""Queue names, task names and routes, one of each for each stage: the contract by which broker and workers meet."""

from kombu import Exchange, Queue

from golem_chain.shared.records import CHAIN

#: The stages in the order of the chain. Queue names are the stage names.
STAGES = tuple(CHAIN)

EXCHANGE = Exchange("golem", type="direct")
QUEUES = tuple(Queue(stage, EXCHANGE, routing_key=stage) for stage in STAGES)


def task_name(stage: str) -> str:
    """`golem.scribe`, as Flower shows it."""
    return f"golem.{stage}"


def task_id(job: str, stage: str) -> str:
    """`<job>.scribe`: the Celery task id of one stage of a job."""
    return f"{job}.{stage}"


ROUTES = {task_name(stage): {"queue": stage, "routing_key": stage} for stage in STAGES}
