"""What follows a try: pure decisions about retries, and about how many tries an origin may have at a time.

The steps are those of the example in Standard Webhooks 1.0 ("Deliverability and reliability"), up to the first that
passes a day. The specification suggests some jitter, and to slow down for 429, 502 and 504, which the steps do.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

#: Seconds from a failed try to the next; 31.6 h in all.
STEPS_S = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600)
#: A delay is made longer by up to this share, at random, so that what failed together is not tried together again.
JITTER = 0.2
#: Retry-After is believed up to this, seconds.
RETRY_AFTER_MOST_S = STEPS_S[-1]
#: Tries at a time of one deliverer: in all, for an origin that answers, and for one that did not or is new. Names cost
#: nothing, so that a new one must not take more.
SLOTS, PER_ORIGIN, PER_NEW = 64, 8, 1
#: Of them, for all origins that answer, and for all others: neither kind can take the place of the other.
PER_KIND = 48
_GONE = 410


class Answer(NamedTuple):
    """What a try brought."""

    status: int | None = None  # None: there was no answer
    error: str = ""  # why not, as the end of a sentence
    retry_after_s: float | None = None

    @property
    def told(self) -> str:
        """The answer as the end of a sentence."""
        if self.status is None:
            return self.error
        hint = ": redirects are not followed, use the URL that it leads to" if 300 <= self.status < 400 else ""
        return f"answered {self.status}{hint}"


class Verdict(NamedTuple):
    """What becomes of the message."""

    move: Literal["delivered", "later", "dead"]
    delay_s: float = 0.0
    why: str = ""


def verdict(answer: Answer, failed: int, chance: float, steps_s: Sequence[float] = STEPS_S) -> Verdict:
    """Return what follows a try. `failed`: tries that failed before it; `chance`: at random, 0 to 1.

    (1) Any 2xx is a success. (2) 410 Gone ends the tries. (3) Any other answer, a redirect too, or none is a failure,
    and the next step follows, or (4) none is left. Retry-After can make a delay longer, never shorter: a receiver would
    otherwise use up all tries within moments.
    """
    if answer.status is not None and 200 <= answer.status < 300:
        return Verdict("delivered")
    if answer.status == _GONE:
        return Verdict("dead", why=f"{answer.told} (Gone)")
    if failed >= len(steps_s):
        return Verdict("dead", why=f"{answer.told}, as {failed + 1} tries have failed")
    delay_s = steps_s[failed] * (1 + JITTER * chance)
    return Verdict("later", max(delay_s, min(answer.retry_after_s or 0.0, RETRY_AFTER_MOST_S)), answer.told)


def retry_after(header: str | None, date: str | None) -> float | None:
    """Return the seconds of a Retry-After header, None if there is none or it cannot be read (RFC 9110, 10.2.3).

    It is a number, or a time, which is compared with the answer's own Date if it has one: receivers' clocks differ.
    """
    if header is None:
        return None
    if header.strip().isdecimal() and header.isascii():
        return float(header.strip()[:9])
    try:
        now_s = parsedate_to_datetime(date).timestamp() if date else time.time()
        return max(0.0, parsedate_to_datetime(header).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


class Room(NamedTuple):
    """How many more tries a deliverer may begin."""

    free: int  # in all
    answering: int  # for the origins that answer
    new: int  # for the others, PER_NEW each
    origins: Mapping[str, int]  # for each that answers or has tries under way, the longest unused first


def room(running: Mapping[str, int], answering: Collection[str]) -> Room:
    """Return how many more tries may begin. `running`: tries under way; `answering`: origins whose last try got an
    answer."""
    total, known = sum(running.values()), sum(running.get(one, 0) for one in answering)
    most = dict.fromkeys(answering, PER_ORIGIN) | {one: PER_NEW for one in running if one not in answering}
    left = {origin: max(0, allowed - running.get(origin, 0)) for origin, allowed in most.items()}
    return Room(max(0, SLOTS - total), max(0, PER_KIND - known), max(0, PER_KIND - (total - known)), left)
