"""The ports: opened before anything is started, so that what is wrong is one sentence and nothing to clean up."""

import errno
import socket
import ssl
from pathlib import Path
from typing import Any

from golem_chain.broker.doors.access.browsers import is_loopback
from golem_chain.shared.errors import BadSetting
from golem_chain.shared.settings import Settings


def check_keys(settings: Settings, *, no_auth: bool) -> None:
    """Raise BadSetting if others could use the server without a key, and nobody has said that they may."""
    if no_auth and settings.api_keys:
        raise BadSetting("GOLEM_API_KEYS is set, and --no-auth asks for a server without keys: choose one of them.")
    if not (is_loopback(settings.serve_address) or settings.api_keys or no_auth):
        raise BadSetting(
            f"GOLEM_SERVE_ADDRESS={settings.serve_address} can be reached from other machines: set GOLEM_API_KEYS "
            "(golem keys add makes one), or say --no-auth if everybody there may use this server."
        )


def open_port(address: str, port: int, backlog: int, setting: str) -> list[socket.socket]:
    """Return the sockets of a name or an address, bound and listening.

    `setting`: the beginning of the names of the settings, such as GOLEM_SERVE. Raises BadSetting if the address is not
    one of this machine, or the port is in use or needs rights.
    """
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise BadSetting(f"{setting}_ADDRESS={address} is no address of this machine, nor a name of one.") from None
    opened: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, kind, protocol, _, place in dict.fromkeys(found):
            try:
                opened.append(_bound(family, kind, protocol, place, backlog))
            except OSError as exc:
                if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = exc  # such as ::1 of localhost, on a machine without IPv6
        if missing and not opened:
            raise missing
    except OSError as exc:
        for one in opened:
            one.close()
        raise BadSetting(_refused(exc, address, port, setting)) from None
    return opened


def _bound(family: int, kind: int, protocol: int, place: tuple[Any, ...], backlog: int) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait for old connections
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        one.bind(place)
        one.listen(backlog)  # a bound port that does not listen can be taken by somebody else
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one


def _refused(exc: OSError, address: str, port: int, setting: str) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"Port {port} of {address} is in use: stop the program that uses it, or set {setting}_PORT to another."
    if exc.errno == errno.EACCES:
        return f"Port {port} needs rights that this user lacks: set {setting}_PORT to one above 1023."
    if exc.errno == errno.EADDRNOTAVAIL:
        return f"{setting}_ADDRESS={address} is no address of this machine."
    return f"{setting}_ADDRESS={address} and {setting}_PORT={port} cannot be used: {exc.strerror}."


def certificate(settings: Settings) -> ssl.SSLContext | None:
    """Return the context of TLS for the two files of the settings; None if there are none.

    Raises BadSetting if one is missing, cannot be read or does not belong to the other.
    """
    chain, key = settings.serve_tls_cert, settings.serve_tls_key
    if chain is None and key is None:
        return None
    if chain is None:
        raise BadSetting("GOLEM_SERVE_TLS_KEY is set without a certificate: set GOLEM_SERVE_TLS_CERT too.")
    _read(chain, "GOLEM_SERVE_TLS_CERT")
    if key is not None and b"ENCRYPTED" in _read(key, "GOLEM_SERVE_TLS_KEY"):
        raise BadSetting(
            f"The key in {key} is encrypted: decrypt it with openssl pkey, and let nobody but this user read the file."
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(chain, key, password=lambda: "")  # else OpenSSL asks the terminal
    except ssl.SSLError as exc:
        raise BadSetting(_unfit(exc, str(chain), str(key or chain))) from None
    return context


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BadSetting(f"{setting}={path} cannot be read: {exc.strerror}.") from None


def _unfit(exc: ssl.SSLError, chain: str, key: str) -> str:
    if exc.reason == "KEY_VALUES_MISMATCH":
        return f"The key in {key} does not belong to the certificate in {chain}."
    return f"{chain} and {key} are not a certificate and its key as PEM ({exc.reason or 'unreadable'})."
