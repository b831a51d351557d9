"""The Redis functions of producers: printed, or loaded by an administrator."""

import sys

from golem_chain.broker.cli.console import say


def command(*, load: bool) -> None:
    """Print the library, or load it into the server of GOLEM_REDIS_URL. Raises BrokerAway if Redis refuses."""
    from golem_chain.broker.address import masked
    from golem_chain.broker.connection import connect, reaching
    from golem_chain.broker.transport.scripts import library
    from golem_chain.shared.settings import Settings

    if not load:
        sys.stdout.write(library())
        return
    settings = Settings.read()
    with reaching(settings), connect(settings) as client:
        name = client.function_load(library(), replace=True)
    shown = name.decode() if isinstance(name, bytes) else name
    say(f"Loaded the functions {shown} into {masked(settings.redis_url)}.")
