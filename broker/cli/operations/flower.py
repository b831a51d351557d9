"""Runs Flower on the running system: on loopback by default, always with a password."""

import os
import secrets
from importlib.util import find_spec

from golem_chain.broker.cli.console import say
from golem_chain.broker.keys import Keys
from golem_chain.shared.errors import BadSetting, MissingExtra
from golem_chain.shared.settings import Settings


def credentials(given: str | None) -> tuple[str, bool]:
    """Return `user:password` for Flower's basic auth, and whether it was generated. Raises BadSetting."""
    if not given:
        return f"golem:{secrets.token_urlsafe(12)}", True
    user, colon, password = given.partition(":")
    if not (user and colon and len(password) >= 8):
        raise BadSetting("GOLEM_FLOWER_AUTH must be user:password, with a password of at least 8 characters.")
    return given, False


def serve(settings: Settings) -> None:
    """Run Flower until it is stopped. Raises MissingExtra, BadSetting, BrokerAway."""
    if find_spec("flower") is None:
        raise MissingExtra("Flower is not installed: pip install 'golem-chain[monitor]'.")
    auth, made = credentials(settings.flower_auth)
    from golem_chain.broker.address import primary_of
    from golem_chain.broker.app import make_app
    from golem_chain.broker.connection import check_broker
    from golem_chain.broker.sentinel import connecting
    from golem_chain.broker.transport.channel import stand_in

    check_broker(settings)
    os.environ["FLOWER_BASIC_AUTH"] = auth  # not on the command line, which other users can read
    os.environ["FLOWER_UNAUTHENTICATED_API"] = "false"
    host = "127.0.0.1" if settings.flower_address in ("0.0.0.0", "::") else settings.flower_address  # noqa: S104
    login = f", login {auth.replace(':', ' / ')}" if made else ""
    say(f"Flower is running at http://{host}:{settings.flower_port}{login}. Press Ctrl-C to stop it.")
    app = make_app(settings)
    # Flower's broker page knows the stock transports only: ours takes the place of theirs, for the sake of the prefix.
    stand_in(app.conf.broker_transport)
    app.conf.broker_transport = None
    # The last option is for the broker page.
    app.conf.broker_transport_options |= {"global_keyprefix": Keys(settings.prefix).queue("")}
    if primary := primary_of(settings.redis_url):
        app.conf.broker_url = ";".join(primary.urls())  # the broker page reads the sentinels from it
        app.conf.broker_transport_options |= {"master_name": primary.name, "sentinel_kwargs": connecting(primary)}
    app.start(
        argv=[
            "flower",
            f"--address={settings.flower_address}",
            f"--port={settings.flower_port}",
            "--natural_time=true",
            "--max_tasks=10000",
            "--logging=warning",
        ]
    )
