"""A worker with stock Celery and kombu, for the comparison: `python -m tests.support.stock_box URL NAME`.

Configured as Celery's documentation recommends against lost work, with checks for unacknowledged messages as frequent
as its options allow (every 100 s by default). The three tasks sleep like those of `sleeping_box`.
"""

import os
import sys
import time

from celery import Celery

from golem_chain.broker.queues import STAGES
from tests.support.sleeping_box import log

RUN_S = float(os.environ.get("BATCH_S", "0.05"))
OPTIONS = {
    "visibility_timeout": int(os.environ.get("STOCK_LEASE_S", "5")),  # longer than any task; the default is 1 h
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 10,
}


def make_app(url: str) -> Celery:
    app = Celery("stock", broker=url, backend=url)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_default_queue="stock",
        broker_transport_options=OPTIONS,
        result_backend_transport_options={"retry_policy": {"timeout": 5.0}},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
    )
    for stage in STAGES:

        def run(job: str, stage: str = stage) -> str:
            log(event="batch", stage=stage, jobs=[job])
            time.sleep(RUN_S)
            log(event="end", stage=stage, job=job)
            return job

        app.task(run, name=f"stock.{stage}", shared=False)
    return app


if __name__ == "__main__":
    url, name = sys.argv[1:]
    make_app(url).worker_main(["worker", "--loglevel=WARNING", f"--hostname={name}@%h"])
