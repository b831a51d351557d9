"""Reads GOLEM_REDIS_URL: the sentinels of a `sentinel://` URL, TLS options, and the URL as it may be shown.

sentinel://[user:password@]host1:26379,host2:26379/0?master=NAME[&sentinel_username=…][&sentinel_password=…]

`sentinels://` is the same with TLS, to the sentinels and to the servers, with the options of `rediss://`.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from golem_chain.shared.errors import BadSetting
from golem_chain.shared.json_object import JsonObject

_SCHEMES = {"sentinel": False, "sentinels": True}  # with TLS?
_SENTINEL_PORT = 26379
_REQUIREMENTS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_LOGIN = {"sentinel_username": "username", "sentinel_password": "password"}
_OPTIONS = ("master", *_SENTINEL_LOGIN)
_TLS_OPTIONS = ("ssl_cert_reqs", *_FILES)


@dataclass(frozen=True)
class Primary:
    """A primary that sentinels know by its name. Neither its repr nor its JSON holds a password."""

    name: str
    sentinels: tuple[tuple[str, int], ...]
    db: int = 0
    login: Mapping[str, str] = field(default_factory=dict, repr=False)  # username and password of the servers
    sentinel_login: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Mapping[str, Any] | None = None  # options of the TLS connections, None: no TLS

    def urls(self) -> list[str]:
        """Return a URL for each sentinel, as kombu and Flower expect them; they hold the password of the servers."""
        user, password = (quote(self.login.get(key, ""), safe="") for key in ("username", "password"))
        login = f"{user}:{password}@" if self.login else ""
        return [f"sentinel://{login}{_place(*one)}/{self.db}" for one in self.sentinels]

    def __json__(self) -> JsonObject:
        """The JSON form for Celery's `inspect stats`, which includes the transport options and is shown in Flower."""
        return {"name": self.name, "sentinels": [_place(*one) for one in self.sentinels]}


def primary_of(url: str) -> Primary | None:
    """Return the primary that a `sentinel://` or `sentinels://` URL names, None for any other scheme.

    Raises BadSetting if the URL lacks `master` or has an unknown option, ValueError if it is malformed.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        return None
    secure = _SCHEMES[parts.scheme]
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if "master" not in query:
        raise BadSetting(
            f"GOLEM_REDIS_URL={masked(url)} does not name the primary: add ?master=NAME, the name that the sentinels "
            "monitor."
        )
    known = (*_OPTIONS, *_TLS_OPTIONS) if secure else _OPTIONS
    if unknown := [key for key in query if key not in known]:
        raise BadSetting(
            f"GOLEM_REDIS_URL={masked(url)} has an unknown option {unknown[0][:40]!a}: use {', '.join(known)}."
        )
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    login = {"username": unquote(user), "password": unquote(password)}
    return Primary(
        name=query["master"],
        sentinels=tuple(_hosts(parts)),
        db=int(parts.path.strip("/") or 0),
        login={key: value for key, value in login.items() if value},
        sentinel_login={key: query[given] for given, key in _SENTINEL_LOGIN.items() if given in query},
        tls=tls_options(query) if secure else None,
    )


def _hosts(parts: SplitResult) -> list[tuple[str, int]]:
    """Return host and port of each sentinel. Raises ValueError."""
    found = [urlsplit(f"//{one}") for one in parts.netloc.rpartition("@")[2].split(",")]
    if not all(one.hostname for one in found):
        raise ValueError("a host is missing")
    return [(one.hostname or "", one.port or _SENTINEL_PORT) for one in found]


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tls_options(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the TLS options of a URL's query, as redis-py and kombu expect them. Raises BadSetting."""
    wanted = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if wanted not in _REQUIREMENTS:
        raise BadSetting(f"GOLEM_REDIS_URL: ssl_cert_reqs={wanted} must be required, optional or none.")
    tls: dict[str, Any] = {"ssl_cert_reqs": _REQUIREMENTS[wanted], "ssl_check_hostname": wanted == "required"}
    return tls | {key: query[key] for key in _FILES if key in query}


def masked(url: str) -> str:
    """Return the URL without user and password."""
    try:
        parts = urlsplit(url)
        if parts.scheme in _SCHEMES:
            place = ",".join(_place(*one) for one in _hosts(parts))
            names = parse_qs(parts.query).get("master", [])
        else:
            place, names = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}", []
    except ValueError:
        return "(unreadable)"
    login, name = "***@" if "@" in parts.netloc else "", f"?master={names[-1]}" if names else ""
    return f"{parts.scheme}://{login}{place}{parts.path}{name}"
