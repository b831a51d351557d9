"""Checks the running system and this machine, for `golem doctor`. It changes nothing.

server       the Redis server            serving      the live workers
wire_version the release of the system   webhooks     whether they are delivered
invariants   what delivery guarantees    machine      models, device, Flower's port
"""

from collections.abc import Callable

from redis.exceptions import NoPermissionError

from golem_chain.broker.connection import check_broker, connect_once, reaching
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import delivery, machine, server, serving, webhooks, wire_version
from golem_chain.shared.errors import BrokerAway
from golem_chain.shared.finding import Finding
from golem_chain.shared.settings import Settings

#: How long Redis may take to answer a command, seconds.
ANSWER_S = 10.0


def examine(settings: Settings) -> list[Finding]:
    """Return one finding for each check; those of Redis are skipped where GOLEM_REDIS_URL is not set. Raises BadSetting
    if the URL is bad."""
    return [*of_redis(settings), *machine.check(settings)]


def of_redis(settings: Settings) -> list[Finding]:
    """Return the findings about the server, the workers and the jobs."""
    if not settings.names_a_server:
        return [Finding("redis", "skipped", "GOLEM_REDIS_URL is not set: server, workers and jobs are not checked")]
    try:
        check_broker(settings)
    except BrokerAway as exc:
        return [Finding.of_error("redis", exc)]
    keys = Keys(settings.prefix)
    text = {"decode_responses": True, "encoding_errors": "replace"}
    with (
        connect_once(settings, socket_timeout=ANSWER_S) as plain,
        connect_once(settings, socket_timeout=ANSWER_S, **text) as decoding,
    ):
        found = _attempt(settings, "server", lambda: server.check(server.read(decoding)))
        if any(one.check == "cluster" and one.state == "wrong" for one in found):
            return found  # the other checks use keys of several slots
        found += _attempt(settings, "wire", lambda: wire_version.examine(plain, keys))
        found += _attempt(settings, "workers", lambda: serving.check(serving.read(decoding, keys)))
        found += _attempt(settings, "delivery", lambda: delivery.examine(plain, settings.lease_s, keys))
        found += _attempt(settings, "webhooks", lambda: webhooks.check(webhooks.read(plain, keys)))
    return found


def _attempt(settings: Settings, check: str, made: Callable[[], list[Finding]]) -> list[Finding]:
    """Return the findings, or one that says why there are none."""
    try:
        with reaching(settings):
            try:
                return made()
            except NoPermissionError:
                told = f"The Redis user may not read what the checks of {check} need: use the worker's"
                return [Finding(check, "skipped", told)]
    except BrokerAway as exc:
        return [Finding.of_error(check, exc)]
