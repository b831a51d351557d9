"""The numbers that bound what one client can take of the server, whoever it is."""

import resource

# -- a connection

#: From the first to the last byte of a request's head. A head is a few hundred bytes, so what takes longer is a dead
#: link, or a client that means to stay (slow loris).
HEAD_S = 15.0
#: A kept connection without a request. Longer than the 60 s that nginx and Caddy keep theirs at most: the side that
#: closes first may close upon a request.
KEEP_ALIVE_S = 75
#: A client that takes less than BODY_RATE of its answer for this long is cut off.
WRITE_S = 60.0
#: How long the rest of a body is read, and dropped, after an answer that did not need it: a client that is cut off
#: while it sends may never see the answer.
LINGER_S = 5.0
#: Bytes of a request's head. uvicorn's own limit counts only what is incomplete, so the guard counts again.
HEAD_BYTES = 32 << 10
HEADERS = 100  # of one request
PATH_BYTES = 2048
QUERY_BYTES = 8192
BACKLOG = 512

# -- a body

#: No byte of a body for this long is a 408.
BODY_IDLE_S = 30.0
#: A body may be slower than BODY_RATE for BODY_SLOW_S in all.
BODY_RATE = 1024  # bytes per second
BODY_SLOW_S = 60.0
#: Of a body that is held in memory: everything but the forms with files, whose limits are GOLEM_AUDIO_MAX_BYTES and the
#: key's.
BODY_BYTES = 8 << 20

# -- all clients

#: Requests in progress, streams of events among them.
REQUESTS = 600
#: The most of them that one key may have, so that no key can shut out the others.
REQUESTS_OF_KEY = 300
#: Wrong keys from one address: this many at once, and then one every WRONG_KEY_S.
WRONG_KEYS = 20
WRONG_KEY_S = 3.0
WARN_S = 600.0  # between two lines of the log about one address
#: Addresses, or keys, whose rates are known; the one that was seen least recently is forgotten.
NAMES = 4096

#: Descriptors for everything but clients: Redis, the vault, logs, models.
_OTHER_DESCRIPTORS = 128


def connections() -> int:
    """Return how many connections are held at once: 1,000, or what the limit of open files leaves."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1000 if soft == resource.RLIM_INFINITY else max(16, min(1000, soft - _OTHER_DESCRIPTORS))
