"""Moves what releases 0.1 and 0.2 left in Redis to today's keys, for `golem upgrade`.

Records, Outcomes, label sets and dead letters have kept their names, audio is renamed. Messages move: those that wait
in the old lists, then those that workers had in hand, which go to the head of their queues. Each step is one script
that moves whole messages, so that a run that was killed is simply repeated. The version is set last.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, cast

from redis.exceptions import NoPermissionError

from golem_chain.broker import wire
from golem_chain.broker.connection import connect, place, reaching
from golem_chain.broker.jobs.records import Jobs
from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES, task_name
from golem_chain.broker.transport import scripts
from golem_chain.broker.wire import OLD_PREFIX, OLD_UNACKED, OLD_UNACKED_INDEX, STEP, WIRE, Left
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.settings import Settings
from golem_chain.shared.text import visible

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True)
class Upgraded:
    """What an upgrade did, or would do."""

    was: str | None  # the version before
    moved: Left


def upgrade(settings: Settings, *, dry_run: bool = False) -> Upgraded:
    """Upgrade the system in Redis. Safe to kill and to repeat. Raises BadRequest while workers run or if the Redis
    user lacks rights, WireDiffers if a later release wrote the system, BrokerAway."""
    keys, server = Keys(settings.prefix), place(settings)
    with reaching(settings), _permitted(server), connect(settings) as client:
        was = wire.version(client, keys)
        if was is not None and not (was.isdecimal() and int(was) <= int(WIRE)):
            raise wire.differs(server, was)
        _refuse_workers(client, keys, server)
        if dry_run:
            return Upgraded(was, wire.left(client, keys))
        moved = Left({}) if keys.prefix != OLD_PREFIX else _move(client, keys)
        _refuse_workers(client, keys, server)  # one that has started meanwhile
        client.set(keys.wire, WIRE)
    return Upgraded(was, moved)


@contextmanager
def _permitted(server: str) -> Iterator[None]:
    """Say which user is needed if this one may not use the old names."""
    try:
        yield
    except NoPermissionError:
        raise BadRequest(
            f"{server} does not allow this user to use the names of older releases: run golem upgrade as a user with "
            "all rights, such as the server's default user."
        ) from None


def _refuse_workers(client: "Redis", keys: Keys, server: str) -> None:
    if running := wire.boxes(client, keys):
        more = f" and {len(running) - 1} more" if len(running) > 1 else ""
        named = visible(running[0], 80)
        raise BadRequest(f"{server} has running workers ({named}{more}): stop them, then run golem upgrade again.")


def _move(client: "Redis", keys: Keys) -> Left:
    waiting = {stage: count for stage in STAGES if (count := _move_waiting(client, keys, stage))}
    held = sum(_move_held(client, keys, key, tags) for key, tags in _held(client, keys))
    _rename_audio(client, keys)
    _digest_anew(client, keys)
    return Left(waiting, held)


def _rename_audio(client: "Redis", keys: Keys) -> None:
    touched = (keys.vault_sizes, keys.vault_leaving, keys.vault_ended)
    names = iter(list(cast("list[bytes]", client.hkeys(keys.vault_sizes))))
    while part := list(islice(names, STEP)):
        prefixes = (keys.job(""), keys.audio_prefix)
        client.eval(scripts.UPGRADE_AUDIO, len(touched), *touched, *prefixes, *cast("list[str]", part))


def _digest_anew(client: "Redis", keys: Keys) -> None:
    """Digest the records again, so that a request that is repeated under its id is still the same one."""
    jobs = Jobs(client, keys)
    for key in client.scan_iter(match=keys.job("*"), count=1000):
        jobs.digest_anew(key.decode(errors="replace").removeprefix(keys.job("")))


def _move_waiting(client: "Redis", keys: Keys, stage: str) -> int:
    moved, skip = 0, 0
    while True:
        touched = (stage, keys.queue(stage), keys.wake(stage))
        answer = client.eval(scripts.UPGRADE_QUEUE, len(touched), *touched, str(skip), task_name(stage), str(STEP))
        some, stay = cast("tuple[int, int]", answer)
        if not some + stay:
            return moved
        moved, skip = moved + some, skip + stay


def _held(client: "Redis", keys: Keys) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the tags of messages in hand in the order in which they are moved, at most STEP of one hash."""
    for key, pairs in groupby(wire.held(client, keys), key=lambda pair: pair[0]):
        while part := [tag for _, tag in islice(pairs, STEP)]:
            yield key, part


def _move_held(client: "Redis", keys: Keys, key: str, tags: list[bytes]) -> int:
    index = OLD_UNACKED_INDEX if key == OLD_UNACKED else keys.unacked_index
    touched = (key, index, keys.dead)
    targets = (f" {' '.join(STAGES)} ", keys.queue(""), keys.wake(""))
    answer = client.eval(scripts.UPGRADE_HELD, len(touched), *touched, *targets, *cast("list[str]", tags))
    return int(cast("int", answer))
