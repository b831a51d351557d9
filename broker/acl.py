"""Redis users with least privilege: `python -m golem_chain.broker.acl > users.acl`, an `aclfile` for redis.conf.

Passwords come from GOLEM_ACL_PRODUCER, _DOOR, _WORKER, _DELIVERER, _MONITOR and _FLOWER; a missing one is generated and
printed to stderr. The file holds only their SHA-256. The user `default` is disabled, so anonymous access is impossible.
The keys and channels are those of GOLEM_PREFIX, those of remote control and events of database 0. Requires Redis 7
(selectors).

| user | for | may |
|---|---|---|
| producer | submit, results, cancel | publish, read and end jobs, store audio and label sets; cannot read a queue |
| door | golem serve | all that, read what a monitor may, retry and drop dead letters; no audio, no scripts |
| worker | golem worker | all that, queues, messages in hand, results, remote control; no flush, config or other keys |
| deliverer | golem deliver | read the outbox and Outcomes, send and keep webhooks; no jobs, no audio, no queues |
| monitor | status, timeline, dead list | read all of Golem Chain's keys except audio and jobs; write nothing |
| flower | golem flower | receive events, send remote control commands (which can stop workers); no jobs, no queues |
"""

import hashlib
import os
import secrets
import sys
from collections.abc import Mapping
from typing import get_args

from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES
from golem_chain.broker.wire import OLD_PREFIX, OLD_UNACKED
from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import Lane
from golem_chain.shared.settings import Settings

#: Denied whatever other groups allow: these commands reach beyond our keys, or stop the server.
#: `@dangerous` includes KEYS, FLUSHALL, CONFIG, ACL, DEBUG, MONITOR, SORT and INFO; the clients need INFO.
_NEVER = "-@dangerous -@admin +info"
#: CLIENT TRACKING names every key that changes, whatever a user may read: among them are the ids of jobs.
_EVERYBODY = "+@connection -client|tracking -@dangerous"
USERS = ("producer", "door", "worker", "deliverer", "monitor", "flower")


def rules(prefix: str) -> dict[str, str]:
    """Return the rules of each user of the system with this prefix."""
    keys = Keys(prefix)
    lanes = [keys.lane(stage, lane) for stage in STAGES for lane in get_args(Lane)]
    written = " ".join(f"%W~{key}" for key in (*lanes, *map(keys.wake, STAGES)))
    fanout = keys.fanout.format(db=0)
    # whether 0.1 or 0.2 has left messages; `golem upgrade`, which moves them, needs another user
    names = " ".join(f"%R~{name}" for name in (*STAGES, OLD_UNACKED))
    old = f"({names} +type +lrange +hscan) " if prefix == OLD_PREFIX else ""
    # for PSUBSCRIBE Redis compares these with the pattern literally: a `*` that covers them is not enough
    remote = f"&{fanout}celery.pidbox &{fanout}celeryev/*"
    found = {
        "producer": (
            # no EVAL: an endless script would hold up the server. A function runs under these rules too.
            f"{_EVERYBODY} +info +fcall +multi +exec +discard +time "
            # the message, which begins at any stage; in a selector of its own because DEL, which the other keys need,
            # would empty the queue
            f"({written} +lpush +rpush +zadd +fcall +time) "
            # the audio: written and never read
            f"(%W~{keys.audio_prefix}* +set +del +unlink +persist +pexpire +fcall) "
            # uploads of doors that have expired are dropped by whoever needs their space
            f"(%W~{keys.upload('*')} +unlink +fcall) "
            f"(%R~{keys.wire} +get) (%R~{keys.webhooks_ready} +get) "
            # deadlines and what is told to URLs: they list ids
            f"(%W~{keys.expiring} +zadd +zrem +fcall) (%W~{keys.outbox} +xadd +fcall) "
            # how many jobs were submitted and have ended: HINCRBY answers with the number, so it needs both permissions
            f"(~{keys.totals} +hincrby) "
            # the submitter's own list, and groups: who knows the name can read them
            f"(~{keys.owner('*')} ~{keys.group('*')} ~{keys.group_ends('*')} +zadd +zrevrange +zrevrangebyscore "
            "+zscore +zremrangebyrank +expire +pexpire +persist +hincrby +hset +hsetnx +hexists +hgetall +hmget "
            "+exists +xadd +xread +fcall) "
            # the submitter's own label sets: likewise
            f"(~{keys.label_sets('*')} +hget +hset +hdel +hkeys +hlen +hexists +expire) "
            # the secret of ids from content: SETNX creates it, and nothing replaces it
            f"(~{keys.salt} +get +setnx) "
            # the job, its labels, vocabulary and Outcome
            f"~{keys.job('*')} ~{keys.outcome('*')} "
            f"~{keys.replicated} ~{keys.vault_total} ~{keys.vault_sizes} ~{keys.vault_leaving} ~{keys.vault_ended} "
            f"~{keys.labels('*')} ~{keys.vocabulary('*')} "
            f"~{keys.users(keys.labels('*'))} ~{keys.users(keys.vocabulary('*'))} "
            "+get +getrange +mget +set +del +unlink +exists +ttl +zadd +expire +pexpire +persist +incrby +decrby "
            "+hset +hsetnx +hget +hmget +hgetall +hdel +hexists +zrem +zrange +zrangebyscore +sadd +srem +scard "
            f"&{keys.ended} +publish +subscribe +unsubscribe"
        ),
        "worker": (
            f"~{prefix}:* &{prefix}:* {remote} +@all {_NEVER} {old}"
            "-@scripting +eval +evalsha +script|load +script|exists"
        ),
        "deliverer": (
            f"{_EVERYBODY} +info +time +eval +evalsha +script|load +script|exists "
            f"%R~{keys.wire} %R~{keys.outcome('*')} ~{keys.outbox} ~{keys.webhook('*')} ~{keys.webhooks_of('*')} "
            f"~{keys.webhooks} ~{keys.webhooks_dead} ~{keys.webhooks_ready} "
            "+xrange +xdel +xlen +del +unlink +get +set +hset +hget +hmget +hincrby +exists +pexpire +persist "
            "+zadd +zrem +zscore +zrange +zrangebyscore +lpush +lrem +lrange +ltrim +lindex +rpop"
        ),
        "monitor": (
            f"{_EVERYBODY} +info +time {' '.join(f'%R~{key}' for key in lanes)} "
            f"%R~{keys.unacked} %R~{keys.unacked_index} %R~{keys.holders} %R~{keys.deliveries} %R~{keys.dead} "
            f"%R~{keys.events} %R~{keys.box('*')} %R~{keys.boxes} %R~{keys.checkpoint('*')} %R~{keys.claim('*')} "
            f"%R~{keys.served} %R~{keys.wire} %R~{keys.totals} +@read +scan -keys -randomkey -dbsize"
        ),
        "flower": (
            f"{_EVERYBODY} +info +multi +exec +discard +eval +evalsha +script|load +script|exists +time "
            # kombu's lists of bound queues, the workers' replies, and the event queue, which never holds messages
            f"~{keys.bindings % '*'} ~{keys.bindings_permanent % '*'} ~{keys.bindings_deadlines} "
            f"~{keys.queue('*.reply.celery.pidbox')} ~{keys.queue('celeryev.*')} "
            "+sadd +srem +smembers +zadd +zrem +zrange +zrangebyscore +zrevrangebyscore +exists +llen +brpop +del "
            f"+lpush +expire +pexpire +set +get {remote} +publish +subscribe +unsubscribe +psubscribe +punsubscribe"
        ),
    }
    # what `retry.lua` names: FCALL has to be granted for all of its keys at once, with no command that reads audio
    shared = (keys.labels("*"), keys.vocabulary("*"))
    again = [keys.dead, keys.outcome("*"), keys.job("*"), f"{keys.audio_prefix}*", keys.vault_leaving, keys.vault_ended]
    again += [*lanes, *map(keys.wake, STAGES), *shared, *map(keys.users, shared)]
    found["door"] = (
        f"{found['producer']} ({found['monitor']}) "
        f"(%R~{keys.outbox} %R~{keys.webhooks} %R~{keys.webhooks_dead} +xlen +zrange +llen) "
        f"({' '.join(f'~{key}' for key in again)} +fcall +exists) (~{keys.dead} +lrem) "
        # uploads: RENAME reads its source, so that it makes audio of an upload and nothing of audio
        f"(~{keys.upload('*')} %W~{keys.audio_prefix}* +append +strlen +expire +rename +unlink +fcall)"
    )
    return found


def render(passwords: Mapping[str, str], prefix: str) -> str:
    """Return the text of the ACL file for the system with this prefix. `passwords` maps users to passwords."""
    lines = ["user default off resetchannels -@all"]
    for user, granted in rules(prefix).items():
        secret = hashlib.sha256(passwords[user].encode()).hexdigest()
        lines.append(f"user {user} on #{secret} resetchannels {granted}")
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Print the ACL file to stdout and generated passwords to stderr."""
    try:
        prefix = Settings.read().prefix
    except GolemError as exc:
        sys.exit(f"golem: {exc.message}")
    passwords = {}
    for user in USERS:
        given = os.environ.get(f"GOLEM_ACL_{user.upper()}")
        passwords[user] = given or secrets.token_urlsafe(24)
        if not given:
            sys.stderr.write(f"{user}: {passwords[user]}\n")
    sys.stdout.write(render(passwords, prefix))


if __name__ == "__main__":
    main()
