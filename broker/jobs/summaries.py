"""The jobs of one submitter as a list shows them: where each is, or how it ended, without the whole of its results."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import redis
from pydantic import ValidationError
from pydantic_core import from_json

from golem_chain.broker.keys import Keys, hashed
from golem_chain.shared.records import Failure

#: Bytes that are read of an Outcome: its name, state and error, and the beginning of its text come first. Of a longer
#: one the end is read for the intent: what follows are the scores of up to 1,000 labels, and a reply.
HEAD_BYTES, TAIL_BYTES = 8192, 64 * 1024
#: Characters of a text that are shown.
SHOWN = 200
_FIELDS = ("job", "at", "lane", "group", "owner", "tag", "ended_at", "intent", "heard")


class Place(NamedTuple):
    """A place in the list of a submitter, which new jobs do not move."""

    submitted_at: float  # Unix seconds, the server's clock
    job: str


class Summary(NamedTuple):
    """A job in short."""

    job: str
    name: str
    state: str  # of the Outcome; while there is none `running` if a worker has it in hand, else `waiting`
    stage: str | None  # that it waits for or is in; None once it has ended
    lane: str
    group: str | None
    submitted_at: float  # Unix seconds, the server's clock; the producer's for a job that is no longer listed
    ended_at: float | None  # Unix seconds, the server's clock; None too if a worker of an older release ended it
    error: Failure | None
    intent: str | None  # the label
    text: str | None  # what was said, its first 200 characters
    heard: tuple[float, float] | None = None  # seconds of how many, while a long recording is transcribed


class Summaries:
    """The jobs of all submitters on one Redis server. Each method takes the `owner` (`broker.owner`) whose jobs it may
    show."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys

    def older(self, owner: str, before: Place | None, most: int) -> list[Place]:
        """Return the next `most` places of the list, newest first, after a place; None: from the newest on."""
        top, skip, found = before.submitted_at if before else "+inf", 0, list[Place]()
        while len(found) < most:
            asked = most - len(found)
            rows = cast(
                "list[tuple[bytes, float]]",
                self._client.zrevrangebyscore(self._keys.owner(owner), top, "-inf", skip, asked, withscores=True),
            )
            places = [Place(at, id.decode(errors="replace")) for id, at in rows]
            found += [place for place in places if before is None or place < before]
            skip += len(rows)
            if len(rows) < asked:
                break
        return found

    def look(self, owner: str, ids: Sequence[str]) -> list[Summary | None]:
        """Return each job in short; None for one that is not known, or not the owner's. Two round trips at most."""
        if not ids:
            return []
        with self._client.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hmget(self._keys.job(id), _FIELDS)
                pipe.getrange(self._keys.outcome(id), 0, HEAD_BYTES - 1)
                pipe.zscore(self._keys.owner(owner), id)
            answers = pipe.execute()
        found: list[_Stored | None] = []
        for n, id in enumerate(ids):
            fields, head, listed_at = answers[3 * n : 3 * n + 3]
            stored = _Stored(id, dict(zip(_FIELDS, fields, strict=True)), head, listed_at)
            found.append(stored if stored.known and stored.is_of(owner) else None)
        self._look_for_progress([one for one in found if one and not one.head])
        self._look_for_intents([one for one in found if one and one.is_cut])
        return [one.summary() if one else None for one in found]

    def _look_for_progress(self, unended: "list[_Stored]") -> None:
        """Look which of these jobs are in hand, and for what was said in those that have passed the Scribe."""
        with self._client.pipeline(transaction=False) as pipe:
            for one in unended:
                pipe.zscore(self._keys.unacked_index, one.fields["tag"] or b"")
                pipe.hget(self._keys.job(one.id), "transcript")
            answers = pipe.execute(raise_on_error=False) if unended else []
        for n, one in enumerate(unended):
            held, transcript = answers[2 * n : 2 * n + 2]
            if isinstance(transcript, Exception):
                raise transcript
            one.transcript = transcript
            if not isinstance(held, redis.exceptions.NoPermissionError):  # a producer's Redis user cannot tell
                if isinstance(held, Exception):
                    raise held
                one.running = held is not None

    def _look_for_intents(self, cut: "list[_Stored]") -> None:
        """Read the ends of Outcomes that are longer than what was read."""
        with self._client.pipeline(transaction=False) as pipe:
            for one in cut:
                pipe.getrange(self._keys.outcome(one.id), -TAIL_BYTES, -1)
            tails = pipe.execute() if cut else []
        for one, tail in zip(cut, tails, strict=True):
            one.tail = tail


class _Stored:
    """What was read of a job. Anybody who may submit can have written it."""

    def __init__(self, id: str, fields: dict[str, bytes | None], head: bytes, listed_at: float | None) -> None:
        self.id, self.fields, self.head, self.listed_at = id, fields, head, listed_at
        self.running, self.transcript, self.tail = False, cast("bytes | None", None), b""

    @property
    def known(self) -> bool:
        return bool(self.head or self.fields["job"])

    @property
    def is_cut(self) -> bool:
        """Whether the intent is in a part of the Outcome that was not read. The hash lacks that of a last stage."""
        return len(self.head) == HEAD_BYTES and not self.fields["intent"]

    @property
    def at(self) -> str | None:
        return _text(self.fields["at"])

    def is_of(self, owner: str) -> bool:
        """Whether the job is this owner's. One of an older release, which names none, is if it is in the list."""
        named = _text(self.fields["owner"])
        return named == hashed(owner) if named else self.listed_at is not None

    def summary(self) -> Summary:
        asked, outcome = _object(self.fields["job"]), _object(self.head)
        said = _inner(outcome, "transcript").get("text") or _object(self.transcript).get("text") or asked.get("text")
        meant = _inner(outcome, "intent") or _object(self.fields["intent"]) or _intent_in(self.tail)
        label = meant.get("label") or asked.get("intent")
        submitted_at = asked.get("submitted_at") if self.listed_at is None else self.listed_at
        return Summary(
            job=self.id,
            name=str(outcome.get("name") or asked.get("name") or self.id),
            state=str(outcome.get("state")) if outcome else "running" if self.running else "waiting",
            stage=None if outcome else self.at,
            lane=_text(self.fields["lane"]) or "bulk",
            group=_text(self.fields["group"]),
            submitted_at=submitted_at if isinstance(submitted_at, int | float) else 0.0,
            ended_at=_number(self.fields["ended_at"]) if outcome else None,
            error=_failure(outcome),
            intent=str(label) if label else None,
            text=str(said)[:SHOWN] if said else None,
            heard=_heard(self.fields["heard"]) if not outcome and self.at == "scribe" else None,
        )


def _text(found: bytes | None) -> str | None:
    return found.decode(errors="replace") if found else None


def _number(found: bytes | None) -> float | None:
    try:
        number = float(found) if found else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _heard(found: bytes | None) -> tuple[float, float] | None:
    heard, _, whole = (found or b"").partition(b"/")
    heard_s, whole_s = _number(heard), _number(whole)
    return None if heard_s is None or whole_s is None else (heard_s, whole_s)


def _object(body: bytes | None) -> dict[str, Any]:
    """Return a JSON object, or what was read of it; empty if it is none."""
    try:
        found = from_json(body.decode(errors="ignore"), allow_partial="trailing-strings") if body else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _inner(found: dict[str, Any], field: str) -> dict[str, Any]:
    inner = found.get(field)
    return inner if isinstance(inner, dict) else {}


def _intent_in(tail: bytes) -> dict[str, Any]:
    """Return the intent in the end of an Outcome. In a text of its, each quote has a backslash before it."""
    _, _, found = tail.rpartition(b',"intent":{')
    return _object(b"{" + found) if found else {}


def _failure(outcome: dict[str, Any]) -> Failure | None:
    try:
        return Failure.model_validate(outcome["error"]) if outcome.get("error") else None
    except ValidationError:  # longer than what was read
        return None
