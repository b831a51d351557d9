"""What a browser may do for a page that it shows: decided by the Host, Origin and Sec-Fetch headers.

A browser reaches loopback and private networks for every page that it shows. It sends the page's origin along, and the
name that the page asked for, and a page cannot forge either. So a page of another site is refused by its origin, and
one that made its own name lead here (DNS rebinding) by its name.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from golem_chain.broker.doors.access import paths
from golem_chain.broker.doors.errors import HttpError
from golem_chain.shared.settings import Settings
from golem_chain.shared.text import visible

#: What a page of GOLEM_SERVE_ORIGINS may send, and may see of an answer.
_SENT = "authorization, content-type, idempotency-key, last-event-id, x-request-id"
_SEEN = (
    "x-request-id, x-golem-job, retry-after, location, content-disposition, x-ratelimit-limit-requests, "
    "x-ratelimit-remaining-requests, x-ratelimit-reset-requests"
)
_PREFLIGHT_S = 600  # how long a browser keeps the answer to a preflight
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::(\d{1,5}))?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Rules:
    """What is asked of browsers at one door."""

    any_host: bool
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """Return the rules of these settings. On loopback, or without keys, a name has to be known. Elsewhere a page
        that came by a name of its own has no key, so any name will do unless GOLEM_SERVE_HOSTS has some."""
        open_to_names = bool(settings.api_keys) and not settings.serve_hosts and not is_loopback(settings.serve_address)
        return cls(open_to_names, settings.serve_hosts, settings.serve_origins)


def is_loopback(address: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def check_host(rules: Rules, header: str | None) -> None:
    """Refuse a request for a name that is not ours: 400 or 421.

    Addresses pass, because no name that somebody else owns leads to them. So does any port: it is the browser that
    writes it, and tunnels and containers change it.
    """
    split = _split(header or "")
    if split is None:
        raise HttpError(400, "The request has no valid Host header.", "invalid_host")
    name, _ = split
    if not (rules.any_host or _is_address(name) or _is_localhost(name) or _named(name, rules.hosts)):
        raise HttpError(
            421, f"This server is not known as {visible(name, 80)}: add the name to GOLEM_SERVE_HOSTS.", "unknown_host"
        )


def check_origin(rules: Rules, method: str, path: str, scheme: str, headers: Mapping[str, str]) -> str | None:
    """Refuse what a page of another origin asks: 403. Return the origin of a page that GOLEM_SERVE_ORIGINS lets in,
    None where no page asks, or our own. Programs send none of the headers, and pass."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None:
        if origin.lower() in rules.origins:
            return origin
        if _is_own(origin, scheme, headers.get("host", "")):
            return None
        raise HttpError(
            403,
            f"Pages of {visible(origin, 80)} may not use this server: add the origin to GOLEM_SERVE_ORIGINS.",
            "foreign_origin",
        )
    followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    if site in ("cross-site", "same-site") and not (followed and method in ("GET", "HEAD") and paths.is_page(path)):
        raise HttpError(403, "Pages of other sites may not use this server.", "foreign_origin")
    return None


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks what a page may ask."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def preflight_headers() -> dict[str, str]:
    """Return what a page of GOLEM_SERVE_ORIGINS may ask, besides `cors_headers`."""
    return {
        "access-control-allow-methods": ", ".join(paths.METHODS),
        "access-control-allow-headers": _SENT,
        "access-control-max-age": str(_PREFLIGHT_S),
    }


def cors_headers(rules: Rules, allowed: str | None) -> dict[str, str]:
    """Return the headers of CORS for an answer. Cookies play no part here, so credentials are never allowed."""
    told = {"vary": "origin"} if rules.origins else {}
    if allowed is not None:
        told |= {"access-control-allow-origin": allowed, "access-control-expose-headers": _SEEN}
    return told


def _split(host: str) -> tuple[str, int | None] | None:
    """Return name and port of a Host header."""
    found = _HOST.fullmatch(host.lower())
    if found is None:
        return None
    name = found[1] or found[2].removesuffix(".")
    return (name, int(found[3]) if found[3] else None) if name else None


def _is_address(name: str) -> bool:
    """Whether it is an address, but not 0.0.0.0, which some systems take for loopback."""
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761: loopback, always


def _named(name: str, known: tuple[str, ...]) -> bool:
    return any(name == one or (one.startswith("*.") and name.endswith(one[1:])) for one in known)


def _is_own(origin: str, scheme: str, host: str) -> bool:
    """Whether an origin is the one that this request was sent to.

    A proxy may speak TLS for us, so an origin of https passes where we see http. The reverse does not: a page that came
    without TLS could be anybody's.
    """
    try:
        page = urlsplit(origin.lower())
        port = page.port
    except ValueError:
        return False
    asked = _split(host)
    if asked is None or page.scheme not in _PORTS or (scheme == "https" and page.scheme == "http"):
        return False
    usual = _PORTS[page.scheme]
    return (page.hostname, port or usual) == (asked[0], asked[1] or usual)
