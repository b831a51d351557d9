"""The ids of jobs that clients ask for again: derived from who asks, what is asked, and when. Pure.

A client that loses its connection sends the same request again. It finds its job if the id is that of the request. Who
knows an id can read the job in Redis, so ids are HMACs (RFC 2104) under the secret of `broker.content_id`. The owner is
part of what is digested: two owners never share a job.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from golem_chain.broker.content_id import ID_DIGITS
from golem_chain.shared.records import JobOptions

#: How long a request has the same id, seconds: clients retry for a few minutes. It is found again in the window after.
WINDOW_S = 300
#: Tries of one request that ended badly within a window, after which an id is random.
TRIES_MOST = 20


def request_digest(asked: str, options: JobOptions) -> str:
    """Return a hash of a request: `asked` is the digest of what changes the answers, and the rest is how the job is
    treated, which a request under the same id must share too."""
    treated = [options.lane, options.expires_s, options.group, options.webhook]
    return hashlib.sha256(json.dumps([asked, *treated]).encode()).hexdigest()


def window_of(now_s: float) -> int:
    """Return the window of a time, Unix seconds."""
    return int(now_s // WINDOW_S)


def request_ids(salt: bytes, owner: str, digest: str, window: int) -> Iterator[str]:
    """Yield the ids of a request within a window: the first, and one for each time that the job before ended badly."""
    before = ""
    for _ in range(TRIES_MOST):
        before = _id(salt, "request", owner, digest, str(window), before)
        yield before


class Found(NamedTuple):
    """The id of a request."""

    id: str
    known: bool  # there is a job under it, which runs or is done


class Search:
    """The search for the job of a request: ask for the states of `ids` and `tell` them, until there are no more.

    It looks into the window and those beside it: before, because the first try may be as old, and after, because
    another server's clock may be ahead. A job that ended badly is followed by the next try.
    """

    def __init__(self, salt: bytes, owner: str, digest: str, window: int) -> None:
        self.found: Found | None = None  # None: `ids` have to be asked for, or all tries ended badly
        self._tries = [request_ids(salt, owner, digest, one) for one in (window, window - 1, window + 1)]
        self._own = self._tries[0]
        self.ids = [next(one) for one in self._tries]

    def tell(self, states: Sequence[str | None]) -> None:
        """Take note of the state of each of `ids`: None if there is no such job, `waiting`, or that of its Outcome."""
        for id, state in zip(self.ids, states, strict=True):
            if state in ("waiting", "done"):
                self.found, self.ids = Found(id, known=True), []
                return
        going = []
        for one, id, state in zip(self._tries, self.ids, states, strict=True):
            if state is not None:
                going.append(one)
            elif one is self._own:
                self.found = Found(id, known=False)
        pairs = [(one, again) for one in going if (again := next(one, None)) is not None]
        self._tries, self.ids = [one for one, _ in pairs], [again for _, again in pairs]


def key_id(salt: bytes, owner: str, key: str) -> str:
    """Return the id for an Idempotency-Key of the client's, which holds as long as the job is kept."""
    return _id(salt, "key", owner, key)


def _id(salt: bytes, *parts: str) -> str:
    said = json.dumps(parts).encode()  # no two lists of parts have the same text
    return hmac.new(salt, said, hashlib.sha256).hexdigest()[:ID_DIGITS]
