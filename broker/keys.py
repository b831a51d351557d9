"""Every Redis key and channel, with its type and its lifetime. No other module builds a key.

job           golem:job:<id>  golem:outcome:<id>  golem:vault:<id>
shared data   golem:labels:<sha256>  golem:vocabulary:<sha256>, each with the set of jobs that use it
message       golem:unacked  golem:unacked-index  golem:holders  golem:deliveries  golem:crashes
box           golem:box:<node>  golem:boxes  golem:claim:<queue>  golem:checkpoint:<stage>
"""

# -- jobs: expire GOLEM_KEEP_S after the Outcome was written, or UNCLAIMED_S after registration if never published

#: Expiry of what belongs to a job whose producer died before publishing it (record, audio, label set), seconds.
UNCLAIMED_S = 3600
#: Channel: ids of jobs as they end.
ENDED = "golem:ended"


def job(id: str) -> str:
    """A job's record and the results of its finished stages (hash)."""
    return f"golem:job:{id}"


def outcome(id: str) -> str:
    """A job's Outcome (JSON)."""
    return f"golem:outcome:{id}"


# -- audio

#: Bytes reserved in total.
VAULT_TOTAL = "golem:vault-total"
#: id -> bytes reserved (hash).
VAULT_SIZES = "golem:vault-sizes"
#: id -> when its bytes expire, Unix seconds of the server (sorted set).
VAULT_LEAVING = "golem:vault-leaving"
#: The same for ended jobs: their bytes are dropped earlier if a new job needs the space.
VAULT_ENDED = "golem:vault-ended"
#: Written after a submit that replicas have to confirm; expires at once. Named so that producers may write it.
VAULT_REPLICATED = "golem:vault-replicated"
#: Prefix of the audio keys, for a script that receives ids.
AUDIO_PREFIX = "golem:vault:"


def audio(id: str) -> str:
    """The bytes of a job's audio."""
    return AUDIO_PREFIX + id


# -- label sets and vocabularies too large for messages: kept while jobs use them


def labels(sha256: str) -> str:
    """A stored label set (JSON)."""
    return f"golem:labels:{sha256}"


def vocabulary(sha256: str) -> str:
    """A stored vocabulary (JSON)."""
    return f"golem:vocabulary:{sha256}"


def is_shared(key: str) -> bool:
    """Return whether a key is that of a stored label set or vocabulary. A job record, which names it, is untrusted."""
    return key.startswith((labels(""), vocabulary("")))


def users(stored: str) -> str:
    """The unfinished jobs that use a stored label set or vocabulary (set); `stored` is its key."""
    kind = stored.split(":")[1]
    return stored.replace(f"golem:{kind}:", f"golem:{kind}-users:", 1)


# -- messages in hand: an entry is deleted when its message is acknowledged, requeued or becomes a dead letter

#: Kombu's unacknowledged hash: tag -> `[message, exchange, routing key]`.
UNACKED = "golem:unacked"
#: tag -> when its lease was last renewed (sorted set).
UNACKED_INDEX = "golem:unacked-index"
#: Kombu's transport options with these names: another Celery app on the same database sweeps kombu's default names by
#: its own clock. The third is the mutex of kombu's sweep, which ours replaces.
BOOKS = {
    "unacked_key": UNACKED,
    "unacked_index_key": UNACKED_INDEX,
    "unacked_mutex_key": "golem:unacked-mutex",
}
#: The same hash and sorted set in 0.1: kombu's default names, which other Celery apps on the database may use.
OLD_UNACKED, OLD_UNACKED_INDEX = "unacked", "unacked_index"
#: tag -> node name of the worker that has it (hash).
HOLDERS = "golem:holders"
#: tag -> number of deliveries (hash). A tag names one published message: a retry has a new one.
DELIVERIES = "golem:deliveries"
#: tag -> last error of a worker that failed on it (hash).
CRASHES = "golem:crashes"
#: Dead letters (JSON: raw, why, queue, at, box, deliveries, error), newest first; bounded (list).
DEAD = "golem:dead"
#: Copies of those dead letters whose job has no Outcome yet (list).
DYING = "golem:dying"


def wake(queue: str) -> str:
    """The wake mark that an idle worker blocks on (sorted set with one member)."""
    return f"golem:wake:{queue}"


def result(task_id: str) -> str:
    """A task's result in Celery's backend."""
    return f"celery-task-meta-{task_id}"


# -- boxes: expire a few seconds after the box last renewed them

#: queue -> when any box last took messages from it (hash).
SERVED = "golem:served"
#: Loads, unloads, out-of-memories and batches of all boxes (stream, bounded).
EVENTS = "golem:events"
#: Prefix of the keys of all boxes.
BOX_PREFIX = "golem:box:"


#: node name -> when its worker last renewed its claim on it, by the server's time (sorted set). The other boxes drop a
#: name that was not renewed for a minute; the key itself expires after the same time.
BOXES = "golem:boxes"


def box(node: str) -> str:
    """A worker's claim on its node name, with its reported state (hash)."""
    return BOX_PREFIX + node


def claim(queue: str) -> str:
    """The claims on a queue: node name -> when it last renewed its claim (sorted set). Each renewal drops the claims
    that are no longer believed."""
    return f"golem:claim:{queue}"


def checkpoint(stage: str) -> str:
    """The checkpoint that all live workers use for a stage (hash)."""
    return f"golem:checkpoint:{stage}"


#: Flower's unacknowledged keys, always empty: with kombu's default names Flower would requeue messages in hand.
FLOWER_BOOKS = {f"unacked{part}_key": f"golem:flower:unacked{part}" for part in ("", "_index", "_mutex")}
