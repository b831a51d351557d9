"""Queue names, their lanes and task names, one queue per stage: the contract between broker and workers."""

from typing import get_args

from kombu import Exchange, Queue

from golem_chain.shared.records import CHAIN, Lane

#: The stages in chain order. Queues have the same names.
STAGES = tuple(CHAIN)
#: The lanes of each queue, in the order in which they are taken from.
LANES: tuple[Lane, ...] = get_args(Lane)

EXCHANGE = Exchange("golem", type="direct")
QUEUES = tuple(Queue(stage, EXCHANGE, routing_key=stage) for stage in STAGES)


def task_name(stage: str) -> str:
    """Return the Celery task name of a stage, such as `golem.scribe`."""
    return f"golem.{stage}"


def task_id(job: str, stage: str) -> str:
    """Return the Celery task id of one stage of a job, such as `<job>.scribe`."""
    return f"{job}.{stage}"


def job_of(task: str) -> str:
    """Return the job of a Celery task id, empty for one that `task_id` did not make."""
    return task.rpartition(".")[0]
