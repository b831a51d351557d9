"""The Celery app of workers and Flower. Every non-default setting states its reason."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from celery import Celery

from golem_chain.broker.address import primary_of, tls_options
from golem_chain.broker.connection import bad_url
from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import EXCHANGE, QUEUES, STAGES
from golem_chain.shared.settings import Settings


def make_app(settings: Settings) -> Celery:
    """Return the app for these settings, not yet connected. Raises BadSetting if the URL cannot be used."""
    url, tls = broker_url(settings)
    keys, primary = Keys(settings.prefix), primary_of(settings.redis_url)
    app = Celery("golem", set_as_current=False)  # a producer may have a Celery app of its own
    app.conf.update(
        broker_url=url,
        # the atomic take, affinity, leases
        broker_transport=f"golem_chain.broker.transport.channel:{'SentinelTransport' if primary else 'Transport'}",
        broker_use_ssl=tls,
        # -- serialisation
        task_serializer="json",
        accept_content=["json"],  # never pickle: anyone with write access to Redis could execute code
        event_serializer="json",
        # -- queues
        task_queues=QUEUES,
        task_default_queue=STAGES[0],
        task_default_exchange=EXCHANGE.name,
        task_default_routing_key=STAGES[0],
        task_create_missing_queues=False,  # a misspelt queue raises instead of being created
        # -- the pool
        worker_pool="prefork",  # heartbeats, time limits and revokes keep working during a batch; solo has none of them
        worker_concurrency=1,  # one process holds the models of one card
        worker_prefetch_multiplier=1,  # messages stay in the queue for other workers; the transport makes batches
        worker_disable_rate_limits=True,  # no task has one
        worker_max_tasks_per_child=None,
        # -- delivery
        task_acks_late=True,  # the script that finishes a stage deletes the booking
        task_ignore_result=True,  # answers and Outcomes are in the job's record
        worker_cancel_long_running_tasks_on_connection_loss=False,  # True loses jobs when Redis restarts
        worker_enable_prefetch_count_reduction=False,  # the prefetch limit counts messages in hand
        task_track_started=False,  # in a batch it would arrive after the work; the task-started event is on time
        broker_transport_options={
            "primary": primary,  # None: the URL names the server itself
            "prefix": settings.prefix,
            **keys.books,  # kombu's default names are shared with any other Celery app on the database
            "fanout_prefix": keys.fanout,  # likewise: remote control would reach the workers of other apps
            "visibility_timeout": settings.lease_s,
            "lease_renewal": settings.lease_s / 3,
            "unacked_restore_interval": 1,  # by default every 100 s
            "batch": {stage: settings.batch_of(stage) for stage in STAGES},
            "prefer": settings.prefer,
            "bulk_wait_s": settings.bulk_wait_s,
            "max_deliveries": settings.max_deliveries,
            "socket_connect_timeout": 5,
            "socket_timeout": 30,  # a silent peer must not block lease renewal forever
            "socket_keepalive": True,
            "health_check_interval": 10,  # detects a silently dropped connection after 21 s; by default 51 s
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker retries forever
        # -- monitoring
        worker_send_task_events=True,  # Flower
        task_send_sent_event=False,  # saves one message per stage; received and started are enough
        worker_hijack_root_logger=False,  # the worker configures its own logging
        worker_redirect_stdouts=False,
    )
    return app


def broker_url(settings: Settings) -> tuple[str, Mapping[str, Any] | None]:
    """Return the URL as kombu and Celery expect it, and the TLS options (None: no TLS).

    `unix://[user:password@]/path.sock?db=0` becomes kombu's `redis+socket://`. The query of a `rediss://` URL may set
    `ssl_cert_reqs` (required, the default; optional; none), `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`. Of a
    `sentinel://` URL kombu sees the first sentinel, to name it in logs; the transport asks all of them.
    Raises BadSetting if the URL is bad.
    """
    try:
        parts, primary = urlsplit(settings.redis_url), primary_of(settings.redis_url)
    except ValueError:
        raise bad_url(settings.redis_url) from None
    if primary:
        return primary.urls()[0], primary.tls
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if parts.scheme == "unix":
        login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return f"redis+socket://{login}{parts.path}?virtual_host={query.get('db', '0')}", None
    if parts.scheme == "redis":
        return settings.redis_url, None
    if parts.scheme != "rediss":
        raise bad_url(settings.redis_url)
    return urlunsplit(parts._replace(query="")), tls_options(query)
