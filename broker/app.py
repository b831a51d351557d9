"""The Celery app that producers and workers share; each setting that is not Celery's default carries its reason."""

import ssl
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from celery import Celery
from celery.backends.redis import RedisBackend

from golem_chain.broker.connection import masked
from golem_chain.broker.queues import EXCHANGE, QUEUES, ROUTES, STAGES
from golem_chain.shared.errors import BadSetting
from golem_chain.shared.settings import Settings

_REQUIREMENTS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


class Results(RedisBackend):
    """Celery's results, without a subscription for every task sent: a producer asks for outcomes."""

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing to wait for yet."""


def make_app(settings: Settings) -> Celery:
    """The app for these settings. It connects to nothing yet. Raises BadSetting for an URL that cannot be used."""
    url, tls = broker_url(settings)
    app = Celery("golem", set_as_current=False)  # a producer may be a Celery program of its own
    app.loader.override_backends = dict.fromkeys(("redis", "rediss", "socket"), "golem_chain.broker.app:Results")
    app.conf.update(
        broker_url=url,
        broker_transport="golem_chain.broker.transport.channel:Transport",  # the atomic take, affinity, leases
        broker_use_ssl=tls,
        result_backend=url.replace("redis+socket://", "socket://"),
        redis_backend_use_ssl=tls,
        # -- the wire
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],  # never pickle: whoever can write to Redis could run code
        result_accept_content=["json"],
        event_serializer="json",
        # -- queues
        task_queues=QUEUES,
        task_routes=ROUTES,
        task_default_queue=STAGES[0],
        task_default_exchange=EXCHANGE.name,
        task_default_routing_key=STAGES[0],
        task_create_missing_queues=False,  # a typing error is an error, not a queue that nobody serves
        # -- the pool
        worker_pool="prefork",  # heartbeats, limits and revokes go on while the child computes; solo has none of them
        worker_concurrency=1,  # one process holds the models of one card
        worker_prefetch_multiplier=1,  # nothing waits in a box that another could do; batches are the transport's
        worker_disable_rate_limits=True,  # none are used
        worker_max_tasks_per_child=None,
        # -- delivery
        # a stage's answer waits for a server that is away or takes no writes; a producer has a policy of its own
        task_publish_retry_policy={"max_retries": None, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 1},
        task_acks_late=True,  # a message is done when its result is stored
        task_reject_on_worker_lost=True,  # it goes back when its process dies; the transport counts deliveries
        task_acks_on_failure_or_timeout=True,
        task_time_limit=settings.time_limit_s,  # the lease would keep a hung task alive for ever
        worker_cancel_long_running_tasks_on_connection_loss=False,  # True lost jobs at restarts of Redis
        worker_enable_prefetch_count_reduction=False,  # credit is counted by what the process has in hand
        task_track_started=False,  # in a batch it would come after the work; the event task-started comes in time
        broker_transport_options={
            "visibility_timeout": settings.lease_s,
            "lease_renewal": settings.lease_s / 3,
            "unacked_restore_interval": 1,  # the default sweep comes every 100 s
            "batch": {stage: settings.batch_of(stage) for stage in STAGES},
            "prefer": settings.prefer,
            "max_deliveries": settings.max_deliveries,
            "socket_connect_timeout": 5,
            "socket_timeout": 30,  # a silent peer must not stop the renewal of leases for ever
            "socket_keepalive": True,
            "health_check_interval": 10,  # a connection that a router forgot is given up after 21 s; by default 51
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker waits for its broker, however long
        # -- results
        result_expires=max(1, round(settings.keep_s)),
        redis_socket_timeout=30.0,
        redis_socket_keepalive=True,
        # -- watching
        worker_send_task_events=True,  # Flower
        task_send_sent_event=False,  # one message less for each stage; received and started tell as much
        worker_hijack_root_logger=False,  # the worker sets up its own log
        worker_redirect_stdouts=False,
    )
    return app


def broker_url(settings: Settings) -> tuple[str, dict[str, Any] | None]:
    """The URL as kombu and Celery read it, and how TLS is to be spoken (None: not).

    `unix://[user:password@]/path.sock?db=0` becomes kombu's `redis+socket://`. The query of a `rediss://` URL may say
    `ssl_cert_reqs` (required, the default; optional; none), `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`.
    Raises BadSetting.
    """
    parts = urlsplit(settings.redis_url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if parts.scheme == "unix":
        login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return f"redis+socket://{login}{parts.path}?virtual_host={query.get('db', '0')}", None
    if parts.scheme == "redis":
        return settings.redis_url, None
    if parts.scheme != "rediss":
        raise BadSetting(
            f"GOLEM_REDIS_URL={masked(settings.redis_url)} is not Redis: write redis://, rediss:// or unix://."
        )
    wanted = query.pop("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if wanted not in _REQUIREMENTS:
        raise BadSetting(f"GOLEM_REDIS_URL: ssl_cert_reqs={wanted} must be required, optional or none.")
    tls: dict[str, Any] = {"ssl_cert_reqs": _REQUIREMENTS[wanted], "ssl_check_hostname": wanted == "required"}
    tls |= {key: query[key] for key in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if key in query}
    return urlunsplit(parts._replace(query="")), tls
