"""Makes one try: resolves the host, connects to an address that may be used, posts the body, reads the status.

The address that was checked is the one that is connected to, so that a name cannot lead elsewhere in between (DNS
rebinding). The certificate is checked against the host's name. Redirects are not followed, as Standard Webhooks
advises, and proxy variables of the environment are not read.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version

from golem_chain.broker.webhooks.deadline import DeadlineSocket, left_s
from golem_chain.broker.webhooks.policy import Policy, Target, refusal, target
from golem_chain.broker.webhooks.resolver import resolve
from golem_chain.broker.webhooks.schedule import Answer, retry_after
from golem_chain.shared.errors import RetryableError

#: Seconds for the look-up, for a connection, and for a try as a whole.
RESOLVE_S, CONNECT_S, TOTAL_S = 5.0, 5.0, 15.0
#: Addresses of a host that are tried.
_ADDRESSES = 4
#: Seconds that the rest of an answer may take. It is not used: reading it spares the receiver a reset connection.
_REST_S = 0.5
_REST_BYTES = 4096

Resolve = Callable[[str, int, float], list[str]]


class _Unreached(RetryableError):
    """No connection could be made. The message is the end of a sentence."""


class Sender:
    """Makes tries under a policy. Thread-safe. `resolve`: the look-up of host names."""

    def __init__(self, policy: Policy, look_up: Resolve = resolve, total_s: float = TOTAL_S) -> None:
        self._policy, self._look_up, self._total_s = policy, look_up, total_s
        self._agent = f"golem-chain/{version('golem-chain')}"
        self._tls = ssl.create_default_context()

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post the body and return the answer, after at most `total_s` seconds. Raises BadWebhook if the policy forbids
        the URL; an address that it forbids is an answer, because names change."""
        wanted, ends_at = target(url, self._policy), time.monotonic() + self._total_s
        try:
            sock = self._connect(wanted, ends_at)
            try:
                return self._exchange(wanted, DeadlineSocket(sock, ends_at), headers, body)
            finally:
                sock.close()
        except _Unreached as exc:
            return Answer(error=exc.message)
        except TimeoutError:
            return Answer(error=f"did not answer within {self._total_s:g} s")
        except ssl.SSLCertVerificationError as exc:
            return Answer(error=f"presented an untrusted certificate ({exc.verify_message})")
        except ssl.SSLError:
            return Answer(error="does not speak TLS as we do")
        except http.client.RemoteDisconnected:
            return Answer(error="closed the connection without an answer")
        except http.client.HTTPException:
            return Answer(error="gave no valid HTTP answer")
        except OSError as exc:
            return Answer(error=f"broke the connection ({exc.strerror or exc})")

    def _connect(self, wanted: Target, ends_at: float) -> socket.socket:
        """Return a connection to one of the host's addresses. Raises _Unreached if there is none; OSError from
        TLS."""
        try:
            found = self._look_up(wanted.host, wanted.port, min(RESOLVE_S, left_s(ends_at)))
        except TimeoutError:
            raise _Unreached(f"was not resolved within {RESOLVE_S:g} s") from None
        except OSError as exc:
            raise _Unreached(f"was not resolved ({exc.strerror or exc})") from None
        refused = {address: refusal(address, private=self._policy.private) for address in found}
        allowed = [address for address, why in refused.items() if why is None]
        if not allowed:
            why = next((why for why in refused.values() if why), "there is none")
            raise _Unreached(f"has no address that may be used: {why}")
        why = ""
        for address in allowed[:_ADDRESSES]:
            try:
                plain = socket.create_connection((address, wanted.port), min(CONNECT_S, left_s(ends_at)))
                break
            except OSError as exc:
                why = f"within {CONNECT_S:g} s" if isinstance(exc, TimeoutError) else f"({exc.strerror or exc})"
        else:
            raise _Unreached(f"could not be connected to {why}")
        if wanted.scheme == "http":
            return plain
        try:
            plain.settimeout(left_s(ends_at))  # of the whole handshake
            return self._tls.wrap_socket(plain, server_hostname=wanted.host)
        except BaseException:
            plain.close()
            raise

    def _exchange(self, wanted: Target, sock: DeadlineSocket, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send the request and return the answer. Raises OSError, HTTPException."""
        connection = http.client.HTTPConnection(wanted.host, wanted.port)
        connection.sock = sock
        given = {"Host": wanted.authority, "User-Agent": self._agent, "Content-Type": "application/json"}
        given |= {"Accept-Encoding": "identity", "Connection": "close"}
        connection.request("POST", wanted.path, body, {**given, **headers})
        with connection.getresponse() as answer:
            later_s = retry_after(answer.getheader("Retry-After"), answer.getheader("Date"))
            sock.hurry(_REST_S)
            with suppress(OSError, http.client.HTTPException, ValueError):
                answer.read1(_REST_BYTES)
            return Answer(answer.status, retry_after_s=later_s)
