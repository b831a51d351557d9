"""What is said when the server starts: where it is, who may use it, where its jobs are."""

from golem_chain.broker.connection import place
from golem_chain.broker.doors.access.browsers import is_loopback
from golem_chain.shared.settings import Settings


def greeting(settings: Settings, *, own_system: bool) -> list[str]:
    """Return the sentences. `own_system`: the server has a queue and a worker of its own. Pure."""
    scheme = "https" if settings.serve_tls_cert else "http"
    url = f"{scheme}://{_place(settings.serve_address, settings.serve_port)}"
    told = [f"The page is at {url}/, OpenAI's API at {url}/v1. Press Ctrl-C to stop."]
    if settings.wyoming_port:
        told.append(f"Wyoming is at tcp://{_place(settings.wyoming_address, settings.wyoming_port)}.")
    told.append(_who(settings))
    if settings.wyoming_port and not is_loopback(settings.wyoming_address):
        told.append(f"Wyoming knows no keys: everybody who can reach {settings.wyoming_address} can use it.")
    kept = f"Jobs and the worker's log are kept in {settings.serve_data}."
    told.append(kept if own_system else f"Jobs go to {place(settings)}.")
    return told


def _who(settings: Settings) -> str:
    if settings.api_keys:
        return "A key of GOLEM_API_KEYS is needed."
    if is_loopback(settings.serve_address):
        return "No key is needed, and only this machine can connect."
    return f"No key is needed (--no-auth): everybody who can reach {settings.serve_address} can use this server."


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
