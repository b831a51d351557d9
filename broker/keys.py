"""Every Redis key and channel of ours, in one place: what it is, and who lets it go.

Names of jobs, label sets, boxes and queues are parts of keys; no other module spells a key out.

    a job         golem:job:<id>  golem:outcome:<id>  golem:vault:<id>
    what it uses  golem:labels:<sha256>  golem:vocabulary:<sha256>, each with the set of its users
    a message     unacked  unacked_index  golem:holders  golem:deliveries  golem:crashes
    a box         golem:box:<node>  golem:claim:<queue>  golem:checkpoint:<stage>
"""

# -- a job: expires GOLEM_KEEP_S after its Outcome was written, or an hour after it was registered and never sent

#: Channel: the ids of jobs as they end.
ENDED = "golem:ended"


def job(id: str) -> str:
    """What is known of a job under way (hash)."""
    return f"golem:job:{id}"


def outcome(id: str) -> str:
    """How a job ended (JSON)."""
    return f"golem:outcome:{id}"


# -- audio

#: Bytes booked in all.
VAULT_TOTAL = "golem:vault-total"
#: id -> bytes booked (hash).
VAULT_SIZES = "golem:vault-sizes"
#: id -> when its bytes go, Unix seconds of the server (sorted set).
VAULT_LEAVING = "golem:vault-leaving"
#: The same for those whose Outcome is stored: they go earlier when a new job needs the room.
VAULT_ENDED = "golem:vault-ended"
#: What the bytes of all jobs begin with, for a script that is given ids.
AUDIO_PREFIX = "golem:vault:"


def audio(id: str) -> str:
    """The bytes of a job's audio."""
    return AUDIO_PREFIX + id


# -- label sets and vocabularies that are too large for messages: stay while jobs use them


def labels(sha256: str) -> str:
    """A stored label set (JSON)."""
    return f"golem:labels:{sha256}"


def vocabulary(sha256: str) -> str:
    """A stored vocabulary (JSON)."""
    return f"golem:vocabulary:{sha256}"


def is_shared(key: str) -> bool:
    """Whether a key is that of a stored label set or vocabulary: a record was written by whoever sent the job."""
    return key.startswith((labels(""), vocabulary("")))


def users(stored: str) -> str:
    """The jobs under way that need a stored label set or vocabulary (set); `stored` is its key."""
    kind = stored.split(":")[1]
    return stored.replace(f"golem:{kind}:", f"golem:{kind}-users:", 1)


# -- messages in hand: an entry goes when its message ends, is put back or dies

#: tag -> message, as kombu books it: `[message, exchange, routing key]` (hash).
UNACKED = "unacked"
#: tag -> when its lease was last renewed (sorted set).
UNACKED_INDEX = "unacked_index"
#: tag -> the node name of the box that has it (hash).
HOLDERS = "golem:holders"
#: tag -> how often it was given to a worker (hash). A tag names one published message: a retry has a new one.
DELIVERIES = "golem:deliveries"
#: tag -> the last error of a worker that failed on it (hash).
CRASHES = "golem:crashes"
#: Dead letters (JSON: raw, why, queue, at, box, deliveries, error), newest first; bounded (list).
DEAD = "golem:dead"
#: Copies of those letters whose job has yet to be ended (list).
DYING = "golem:dying"


def wake(queue: str) -> str:
    """What an idle worker blocks on while it waits for work on a queue (sorted set of one mark)."""
    return f"golem:wake:{queue}"


def result(task_id: str) -> str:
    """Celery's result of a task."""
    return f"celery-task-meta-{task_id}"


# -- boxes: expire a few seconds after the box was last heard of

#: queue -> when any box last took from it (hash).
SERVED = "golem:served"
#: What the boxes did: loads, unloads, batches (stream, bounded).
EVENTS = "golem:events"
#: What the keys of all boxes begin with.
BOX_PREFIX = "golem:box:"


def box(node: str) -> str:
    """A box: the claim on its name, and what it tells of itself (hash)."""
    return BOX_PREFIX + node


def claim(queue: str) -> str:
    """The boxes that serve a queue: node name -> when it last said so (sorted set)."""
    return f"golem:claim:{queue}"


def checkpoint(stage: str) -> str:
    """The checkpoint that all live boxes run for a stage (hash)."""
    return f"golem:checkpoint:{stage}"


#: Flower's own books, always empty: with kombu's common names it would put back what workers have in hand.
FLOWER_BOOKS = {f"unacked{part}_key": f"golem:flower:unacked{part}" for part in ("", "_index", "_mutex")}
