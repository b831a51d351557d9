"""Redis users with least privilege: `python -m golem_chain.broker.acl > users.acl`, an `aclfile` for redis.conf.

Passwords come from GOLEM_ACL_PRODUCER, _WORKER, _MONITOR and _FLOWER; a missing one is generated and printed to
stderr. The file holds only their SHA-256. The user `default` is disabled, so anonymous access is impossible.
The channels of remote control and events are those of database 0. Requires Redis 7 (selectors).

| user | for | may |
|---|---|---|
| producer | submit, results, cancel | publish, read and end jobs, store audio and label sets; cannot read a queue |
| worker | golem worker | all that, queues, messages in hand, results, remote control; no flush, config or other keys |
| monitor | status, timeline, dead list | read all of Golem Chain's keys except audio and jobs; write nothing |
| flower | golem flower | receive events, send remote control commands (which can stop workers); no jobs, no queues |
"""

import hashlib
import os
import secrets
import sys
from collections.abc import Mapping

from golem_chain.broker import keys
from golem_chain.broker.queues import STAGES

#: Denied whatever other groups allow: these commands reach beyond our keys, or stop the server.
#: `@dangerous` includes KEYS, FLUSHALL, CONFIG, ACL, DEBUG, MONITOR, SORT and INFO; the clients need INFO.
_NEVER = "-@dangerous -@admin +info"
_QUEUES = " ".join(f"~{stage}" for stage in STAGES)
#: What a worker of 0.1 had in hand: a worker adopts it at its start.
_OLD = f"~{keys.OLD_UNACKED} ~{keys.OLD_UNACKED_INDEX}"
_EVERYBODY = "+@connection -@dangerous"

RULES = {
    "producer": (
        f"{_EVERYBODY} +info +eval +evalsha +script|load +script|exists +multi +exec +discard +time "
        # the message: its queue, its wake mark, and kombu's list of bound queues, which every publisher refreshes; in
        # a selector of its own because DEL, which the other keys need, would empty the queue
        f"(%W~{STAGES[0]} %W~golem:wake:* ~_kombu.binding* +lpush +llen +zadd +sadd +smembers +eval +time) "
        # the job, its audio, labels, vocabulary and Outcome
        "~golem:job:* ~golem:outcome:* ~golem:vault:* ~golem:vault-* ~golem:labels* ~golem:vocabulary* "
        "+get +set +del +unlink +exists +ttl +zadd +expire +pexpire +persist +incrby +decrby "
        "+hset +hsetnx +hget +hmget +hgetall +hdel +hexists +zrem +zrange +zrangebyscore +sadd +srem +scard "
        "&golem:ended +publish +subscribe +unsubscribe"
    ),
    "worker": (
        f"{_QUEUES} ~golem:* {_OLD} ~_kombu.binding* ~celery-task-meta-* ~*.celery.pidbox "
        f"&golem:* &celery-task-meta-* &/0.celery.pidbox &/0.celeryev/* +@all {_NEVER} "
        "-@scripting +eval +evalsha +script|load +script|exists"
    ),
    "monitor": (
        f"{_EVERYBODY} +info +eval_ro +time {' '.join(f'%R~{stage}' for stage in STAGES)} "
        "%R~golem:unacked %R~golem:unacked-index %R~golem:holders %R~golem:deliveries %R~golem:dead "
        "%R~golem:events %R~golem:box:* %R~golem:boxes %R~golem:checkpoint:* %R~golem:claim:* %R~golem:served "
        "+@read +scan -keys -randomkey -dbsize"
    ),
    "flower": (
        f"{_EVERYBODY} +info +multi +exec +discard +eval +evalsha +script|load +script|exists +time "
        # kombu's list of bound queues, the workers' replies, and the event queue, which never holds messages
        "~_kombu.binding* ~*.reply.celery.pidbox* ~celeryev.* ~golem:flower:* "
        "+sadd +srem +smembers +zadd +zrem +zrange +zrangebyscore +zrevrangebyscore +exists +llen +brpop +del +lpush "
        "+expire +pexpire +set +get "
        "&/0.celery.pidbox &/0.celeryev/* +publish +subscribe +unsubscribe +psubscribe +punsubscribe"
    ),
}


def render(passwords: Mapping[str, str]) -> str:
    """Return the text of the ACL file. `passwords` maps users to passwords."""
    lines = ["user default off resetchannels -@all"]
    for user, rules in RULES.items():
        secret = hashlib.sha256(passwords[user].encode()).hexdigest()
        lines.append(f"user {user} on #{secret} resetchannels {rules}")
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Print the ACL file to stdout and generated passwords to stderr."""
    passwords = {}
    for user in RULES:
        given = os.environ.get(f"GOLEM_ACL_{user.upper()}")
        passwords[user] = given or secrets.token_urlsafe(24)
        if not given:
            sys.stderr.write(f"{user}: {passwords[user]}\n")
    sys.stdout.write(render(passwords))


if __name__ == "__main__":
    main()
