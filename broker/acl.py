"""Redis users with least privilege: `python -m golem_chain.broker.acl > users.acl`, an `aclfile` for redis.conf.

Passwords come from GOLEM_ACL_PRODUCER, _WORKER, _MONITOR and _FLOWER; one that is not set is made up and said on
stderr. The file holds their SHA-256 only. The user `default` is off: nobody comes in without a name.
The channels of remote control and events are those of database 0. Needs Redis 7 (selectors).

| user | for | may |
|---|---|---|
| producer | submit, results, cancel | queue jobs, read and end them, put audio and label sets; no queue is read |
| worker | golem worker | all of that and the books, the results, remote control; no flush, no config, no other keys |
| monitor | status, timeline, dead list | read what Golem Chain keeps, but for the audio and the jobs; write nothing |
| flower | golem flower | hear events, ask workers by remote control (which can stop them); no job, no queue |
"""

import hashlib
import os
import secrets
import sys
from collections.abc import Mapping

from golem_chain.broker.queues import STAGES

#: Whatever a group of commands holds besides, none of these: they reach beyond our keys, or stop the server.
#: `@dangerous` has KEYS, FLUSHALL, CONFIG, ACL, DEBUG, MONITOR, SORT, INFO; INFO is needed by the clients.
_NEVER = "-@dangerous -@admin +info"
_QUEUES = " ".join(f"~{stage}" for stage in STAGES)
_EVERYBODY = "+@connection -@dangerous"

RULES = {
    "producer": (
        f"{_EVERYBODY} +info +eval +evalsha +script|load +script|exists +multi +exec +discard +time "
        # the message: its queue and wake mark, and kombu's note of which queues there are, which every sender renews;
        # a selector of its own, since DEL, which the others need, would empty the queue
        f"(%W~{STAGES[0]} %W~golem:wake:* ~_kombu.binding* +lpush +llen +zadd +sadd +smembers +eval +time) "
        # the job, its audio, labels and vocabulary, its end
        "~golem:job:* ~golem:outcome:* ~golem:vault:* ~golem:vault-* ~golem:labels* ~golem:vocabulary* "
        "+get +set +del +unlink +exists +ttl +zadd +expire +pexpire +persist +incrby +decrby "
        "+hset +hsetnx +hget +hmget +hgetall +hdel +hexists +zrem +zrange +zrangebyscore +sadd +srem +scard "
        "&golem:ended +publish +subscribe +unsubscribe"
    ),
    "worker": (
        f"{_QUEUES} ~golem:* ~unacked* ~_kombu.binding* ~celery-task-meta-* ~*.celery.pidbox "
        f"&golem:* &celery-task-meta-* &/0.celery.pidbox &/0.celeryev/* +@all {_NEVER} "
        "-@scripting +eval +evalsha +script|load +script|exists"
    ),
    "monitor": (
        f"{_EVERYBODY} +info +eval_ro +time {' '.join(f'%R~{stage}' for stage in STAGES)} "
        "%R~unacked* %R~golem:box:* %R~golem:holders %R~golem:deliveries %R~golem:dead %R~golem:events "
        "%R~golem:checkpoint:* %R~golem:claim:* %R~golem:served +@read +scan -keys -randomkey -dbsize"
    ),
    "flower": (
        f"{_EVERYBODY} +info +multi +exec +discard +eval +evalsha +script|load +script|exists +time "
        # kombu's notes of who listens, the answers of workers, and the queue of events, a name without messages
        "~_kombu.binding* ~*.reply.celery.pidbox* ~celeryev.* ~golem:flower:* "
        "+sadd +srem +smembers +zadd +zrem +zrange +zrangebyscore +zrevrangebyscore +exists +llen +brpop +del +lpush "
        "+expire +pexpire +set +get "
        "&/0.celery.pidbox &/0.celeryev/* +publish +subscribe +unsubscribe +psubscribe +punsubscribe"
    ),
}


def render(passwords: Mapping[str, str]) -> str:
    """The lines of an ACL file. `passwords`: by user."""
    lines = ["user default off resetchannels -@all"]
    for user, rules in RULES.items():
        secret = hashlib.sha256(passwords[user].encode()).hexdigest()
        lines.append(f"user {user} on #{secret} resetchannels {rules}")
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Print the file."""
    passwords = {}
    for user in RULES:
        given = os.environ.get(f"GOLEM_ACL_{user.upper()}")
        passwords[user] = given or secrets.token_urlsafe(24)
        if not given:
            sys.stderr.write(f"{user}: {passwords[user]}\n")
    sys.stdout.write(render(passwords))


if __name__ == "__main__":
    main()
