"""The command `golem serve`. The work is in `broker.doors`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from golem_chain.broker.cli.console import say
from golem_chain.shared.errors import MissingExtra

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "wyoming")


def serve(
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDRESS", help="Listen on this address. [default: GOLEM_SERVE_ADDRESS]"),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="Port of HTTP. [default: GOLEM_SERVE_PORT]")
    ] = None,
    wyoming_port: Annotated[
        int | None,
        typer.Option("--wyoming-port", metavar="PORT", help="Port of Wyoming; 0: none. [default: GOLEM_WYOMING_PORT]"),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", metavar="FILE", help="Certificate chain for HTTPS. [default: GOLEM_SERVE_TLS_CERT]"),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="FILE", help="Its private key. [default: GOLEM_SERVE_TLS_KEY]"),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Allow an address that others reach without GOLEM_API_KEYS.")
    ] = False,
    log: Annotated[bool, typer.Option("--log", help="Print one line for each request.")] = False,
) -> None:
    """Serve a web page, OpenAI's audio API, a jobs API and Wyoming.

    Without GOLEM_REDIS_URL it starts a server and a worker of its own.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtra("The server is not installed: pip install 'golem-chain[serve]'.")
    from golem_chain.broker.doors import server
    from golem_chain.shared.settings import Settings

    given: dict[str, Any] = {
        "serve_address": address,
        "serve_port": port,
        "wyoming_port": wyoming_port,
        "serve_tls_cert": tls_cert,
        "serve_tls_key": tls_key,
    }
    settings = Settings.read(**{key: value for key, value in given.items() if value is not None})
    server.run(settings, say, no_auth=no_auth, log=log)
