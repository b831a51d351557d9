"""Which URLs and addresses a webhook may lead to: pure decisions, without a look-up or a connection.

The danger is server-side request forgery: who submits a job must not be able to make our network's own services answer.
A URL is checked when the job is submitted and again at each try, and each address after the name was resolved, before
anything connects to it. See the OWASP cheat sheet "Server-Side Request Forgery Prevention".
"""

import ipaddress
import re
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from golem_chain.shared.errors import BadWebhook
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.shared.text import visible

#: Characters of a URL. Longer ones do not fit into a job's record.
URL_MOST = 2000
_DEFAULT_PORTS = {"https": 443, "http": 80}
#: Below this, ports belong to services that are no web servers: SSH, mail, DNS.
_FIRST_FREE_PORT = 1024

#: RFC 1918 and RFC 4193 (unique local).
_PRIVATE = [ipaddress.ip_network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")  # RFC 9637
_RELAYS = ipaddress.IPv4Network("192.88.99.0/24")  # RFC 7526: relays of 6to4, deprecated

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Policy(NamedTuple):
    """What the operator allows."""

    hosts: tuple[str, ...] = ()  # names in lower case, `*.example.org` for its subdomains; empty: any
    http: bool = False  # without TLS too
    private: bool = False  # to private and loopback addresses too

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the policy of the settings."""
        return cls(settings.webhook_hosts, settings.webhook_http == "1", settings.webhook_private == "1")

    @classmethod
    def parse(cls, told: JsonObject) -> Self:
        """Return the policy that `wire` described."""
        return cls(tuple(map(str, told.get("hosts", ()))), bool(told.get("http")), bool(told.get("private")))

    def wire(self) -> JsonObject:
        """Plain JSON types."""
        return {"hosts": list(self.hosts), "http": self.http, "private": self.private}


class Target(NamedTuple):
    """A URL that may be used, in its parts."""

    scheme: str
    host: str  # lower case, an IPv6 address without brackets
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """Host and port as in the header Host: without a default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port. Safe to log: path and query may hold a receiver's token."""
        return f"{self.scheme}://{self.authority}"


def target(url: str, policy: Policy) -> Target:
    """Return the parts of a URL. Raises BadWebhook, whose sentence quotes at most its origin."""
    if len(url) > URL_MOST:
        raise BadWebhook(f"The webhook's URL has {len(url):,} characters: the limit is {URL_MOST:,}.")
    if not url:
        raise BadWebhook("The webhook's URL is empty: write it as https://host/path.")
    if not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise BadWebhook(
            "The webhook's URL is not in plain ASCII: write the host in Punycode and the rest percent-encoded."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadWebhook("The webhook's URL cannot be parsed: write it as https://host/path.") from None
    if parts.scheme not in _DEFAULT_PORTS or not host or not url.lower().startswith(f"{parts.scheme}://"):
        raise BadWebhook("The webhook's URL is not one of a web server: write it as https://host/path.")
    if "@" in parts.netloc:
        raise BadWebhook("The webhook's URL holds a user or a password: receivers check the signature instead.")
    if "#" in url:
        raise BadWebhook("The webhook's URL has a fragment, which is not sent: remove it from the #.")
    if parts.scheme == "http" and not policy.http:
        raise BadWebhook("The webhook's URL has no TLS: use https, or set GOLEM_WEBHOOK_HTTP=1 for the deliverer.")
    if port is None:
        port = _DEFAULT_PORTS[parts.scheme]
    if port < _FIRST_FREE_PORT and port not in _DEFAULT_PORTS.values():
        raise BadWebhook(f"The webhook's URL has port {port}: use 80, 443, or one from {_FIRST_FREE_PORT}.")
    host = host.removesuffix(".")
    _check_host(host, policy)
    return Target(parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _check_host(host: str, policy: Policy) -> None:
    shown = visible(host, 100)
    literal = _literal(host)
    if literal is None and not re.fullmatch(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*", host):
        raise BadWebhook(f"The webhook's host {shown} is not a host name.")
    if literal is None and re.fullmatch(r"\d+|0x[0-9a-f]*", host.rpartition(".")[2]):
        raise BadWebhook(f"The webhook's host {shown} is an address in an unusual form: write it as 192.0.2.1.")
    if policy.hosts and not any(_matches(host, one) for one in policy.hosts):
        raise BadWebhook(f"The webhook's host {shown} is not among those of GOLEM_WEBHOOK_HOSTS.")
    if literal is not None and (why := refusal(str(literal), private=policy.private)):
        raise BadWebhook(f"The webhook's address {why}.")


def _matches(host: str, allowed: str) -> bool:
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def refusal(address: str, *, private: bool) -> str | None:
    """Return why nothing may connect to an IP address, None if it may. `private`: private and loopback ones may.

    Link-local addresses are refused in any case: cloud machines find their credentials there.
    """
    shown = visible(address, 60)
    if "%" in address:
        return f"{shown} is bound to a network interface"
    outer = ipaddress.ip_address(address)
    plain = getattr(outer, "ipv4_mapped", None) or outer
    if plain.is_loopback or any(plain in network for network in _PRIVATE if network.version == plain.version):
        kind = "loopback" if plain.is_loopback else "private"
        return None if private else f"{shown} is a {kind} one: set GOLEM_WEBHOOK_PRIVATE=1 for the deliverer"
    carried = _carried(plain)
    if not _is_public(plain) or (carried and not _is_public(carried)):
        return f"{shown} is not a public one"
    return None


def _carried(address: Address) -> Address | None:
    """Return the IPv4 address to which a gateway (NAT64, 6to4) passes on what is sent to this one, if it is such."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address.sixtofour


def _is_public(address: Address) -> bool:
    """Return whether the address is a global unicast one. What Python's table calls global depends on its version, and
    for IPv6 it includes what nobody has been given: only 2000::/3 is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and address not in _RELAYS
    return address.is_global and (address in _GLOBAL_UNICAST or address in _NAT64) and address not in _DOCUMENTATION
