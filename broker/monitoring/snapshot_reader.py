"""Reads what the invariants of delivery are about: keys, jobs, queues, messages in hand, dead letters.

The system goes on while it is read, so the order matters. Jobs come first, then in one transaction every place where a
message can be, then the jobs again. A job's Outcome is written before its message is acknowledged, and the next stage's
message is published before that too: a job that is live in both readings had a message in between.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from golem_chain.broker.keys import Keys, hashed
from golem_chain.broker.monitoring.snapshot import Hand, JobState, Snapshot
from golem_chain.broker.queues import LANES, STAGES
from golem_chain.broker.transport.dead_letter import Letter
from golem_chain.broker.transport.scripts import DEAD_MOST

if TYPE_CHECKING:
    from redis import Redis

#: Most keys of the database to look at, and how many in one step.
KEYS_MOST, STEP = 100_000, 1000
#: Most messages to read of each lane of a queue (about 4 KB each), in hand, and jobs of a stored label set.
QUEUE_MOST, HAND_MOST, USERS_MOST = 5000, 10_000, 1000


def read(client: "Redis", keys: Keys) -> Snapshot:
    """Read the system. `client` must not decode replies. Raises redis.RedisError if Redis fails."""
    found, keys_cut = _scan(client, keys)
    own = _owners(found, keys)
    jobs = _jobs(client, keys, {job for key, job in own.items() if not key.startswith(keys.outcome(""))})
    # an Outcome always expires: no job keeps it
    lasting: dict[str, list[str] | None] = {
        key: [] if key.startswith(keys.outcome("")) else [own[key]] for key in _without_expiry(client, own)
    }
    if keys_cut:  # the record of the audio's job may be among the other keys
        lasting |= dict.fromkeys(key for key in lasting if own[key] == key.removeprefix(keys.audio_prefix))
    uploads = [key for key in found if key.startswith(keys.upload(""))]
    lasting |= {key: [] for key in _without_expiry(client, uploads)}  # no job keeps one: it always expires
    shared = _shared(client, keys, {key for key in found if keys.is_shared(key) or key.startswith(_users(keys))})
    jobs |= _jobs(client, keys, {job for users in shared.values() for job in users or ()} - jobs.keys())
    again = _shared(client, keys, shared)  # a job that has just ended is no longer among the users
    with client.pipeline() as pipe:
        for stage, lane in product(STAGES, LANES):
            pipe.llen(keys.lane(stage, lane))
            pipe.lrange(keys.lane(stage, lane), -QUEUE_MOST, -1)
        pipe.hscan(keys.unacked, 0, count=HAND_MOST)
        pipe.lrange(keys.dead, 0, DEAD_MOST - 1)
        pipe.lrange(keys.dying, 0, DEAD_MOST - 1)
        *queues, (left, held), dead, dying = pipe.execute()
    letters = [Letter(body) for body in dead]
    hand, now = _hand(client, keys, list(held))
    wanted = {job for job, state in jobs.items() if state.live} | {one.job for one in letters if one.job}
    return Snapshot(
        lasting | {key: users for key, users in shared.items() if key in again and again[key] == users},
        jobs,
        _jobs(client, keys, wanted),
        [raw for messages in queues[1::2] for raw in messages],
        hand,
        list(held.values()),
        letters,
        [Letter(body) for body in dying],
        now,
        keys_cut,
        bool(left) or any(depth > len(messages) for depth, messages in zip(queues[::2], queues[1::2], strict=True)),
    )


def _users(keys: Keys) -> tuple[str, ...]:
    return tuple(map(keys.users, (keys.labels(""), keys.vocabulary(""))))


def _scan(client: "Redis", keys: Keys) -> tuple[set[str], bool]:
    """Return our keys, and whether the search ended before all keys of the database had been looked at."""
    found: set[str] = set()
    cursor: Any = 0
    for _ in range(KEYS_MOST // STEP):
        cursor, some = client.scan(cursor, match=f"{keys.prefix}:*", count=STEP)
        found |= {_text(key) for key in some}
        if not cursor:
            return found, False
    return found, True


def _owners(found: Iterable[str], keys: Keys) -> dict[str, str]:
    """Return the job of each key of a job. Audio has the hash of its job's id in its name; one without a job has no
    owner but that name."""
    ids = {
        key: key.removeprefix(kind)
        for kind in (keys.job(""), keys.outcome(""))
        for key in found
        if key.startswith(kind)
    }
    by_hash = {hashed(job): job for job in ids.values()}
    hashes = {key: key.removeprefix(keys.audio_prefix) for key in found if key.startswith(keys.audio_prefix)}
    return ids | {key: by_hash.get(one, one) for key, one in hashes.items()}


def _jobs(client: "Redis", keys: Keys, ids: Iterable[str]) -> dict[str, JobState]:
    states = {}
    for part in _parts(sorted(ids)):
        with client.pipeline() as pipe:
            for job in part:
                pipe.pttl(keys.job(job))
                pipe.exists(keys.outcome(job))
                pipe.hexists(keys.job(job), "queued")
            rows = pipe.execute(raise_on_error=False)
        for n, job in enumerate(part):
            left_ms, ended, queued = rows[3 * n : 3 * n + 3]
            states[job] = JobState(left_ms != -2, ended == 1, queued == 1 or left_ms == -1)
    return states


def _without_expiry(client: "Redis", names: Iterable[str]) -> list[str]:
    """Return those of the keys that have no expiry."""
    kept: list[str] = []
    for part in _parts(sorted(names)):
        with client.pipeline() as pipe:
            for key in part:
                pipe.pttl(key)
            kept += [key for key, left_ms in zip(part, pipe.execute(), strict=True) if left_ms == -1]
    return kept


def _shared(client: "Redis", keys: Keys, names: Iterable[str]) -> dict[str, list[str] | None]:
    """Return those of the keys of label sets, vocabularies and their users that have no expiry, each with the jobs that
    use it; None for too many to read."""
    kept: dict[str, list[str] | None] = {}
    for part in _parts(sorted(names)):
        with client.pipeline() as pipe:  # expiry and users change in one script, so they are read in one transaction
            for key in part:
                pipe.pttl(key)
                pipe.sscan(key if key.startswith(_users(keys)) else keys.users(key), 0, count=USERS_MOST)
            rows = pipe.execute()
        for key, left_ms, (left, jobs) in zip(part, rows[::2], rows[1::2], strict=True):
            if left_ms == -1:
                kept[key] = None if left else sorted(map(_text, jobs))
    return kept


def _hand(client: "Redis", keys: Keys, tags: Sequence[bytes]) -> tuple[dict[bytes, Hand], float]:
    """Return what is booked for these tags, and the server's time; without those acknowledged meanwhile."""
    hand: dict[bytes, Hand] = {}
    now = 0.0
    for part in _parts(tags) if tags else ():
        with client.pipeline() as pipe:
            pipe.time()
            pipe.hmget(keys.unacked, part)
            pipe.hmget(keys.holders, part)
            for tag in part:
                pipe.zscore(keys.unacked_index, tag)
            (seconds, micros), entries, holders, *renewed = pipe.execute()
        now = seconds + micros / 1e6
        rows = zip(part, entries, renewed, holders, strict=True)
        hand |= {tag: Hand(entry, at, holder) for tag, entry, at, holder in rows if entry is not None}
    return hand, now


def _parts(names: Sequence[Any]) -> Iterator[list[Any]]:
    rest = iter(names)
    while part := list(islice(rest, STEP)):
        yield part


def _text(name: bytes | str) -> str:
    return name if isinstance(name, str) else name.decode(errors="backslashreplace")
