"""Every Redis key and channel of a system, with its type and its lifetime. No other module builds a key.

All begin with the system's prefix (GOLEM_PREFIX), here `golem`, so that several systems and other Celery apps can share
a database:

job           golem:job:<id>  golem:outcome:<id>  golem:vault:<hash of id>  golem:upload:<random>
shared data   golem:labels:<sha256>  golem:vocabulary:<sha256>, each with the set of jobs that use it
message       golem:queue:<name>  golem:unacked  golem:unacked-index  golem:holders  golem:deliveries  golem:crashes
box           golem:box:<node>  golem:boxes  golem:claim:<queue>  golem:checkpoint:<stage>
group         golem:group:<name>  golem:group-ends:<name>
lists         golem:expiring  golem:outbox  golem:owner:<hash>  golem:label-sets:<hash>
webhook       golem:webhook:<id>  golem:webhooks:<origin>  golem:webhooks  golem:webhooks-dead  golem:webhooks-ready
system        golem:wire  golem:salt  golem:totals
kombu         golem:bindings:<exchange>, and the channels golem:fanout:<database>.<exchange>
"""

import hashlib
from dataclasses import dataclass

from golem_chain.shared.records import Lane

#: Expiry of what belongs to a job whose producer died before publishing it (record, audio, label set), seconds.
UNCLAIMED_S = 3600


def hashed(id: str) -> str:
    """Return the name under which a job's audio is booked and its end announced. Producers can read those names, and
    who knows a job's id can read the job."""
    return hashlib.sha1(id.encode(), usedforsecurity=False).hexdigest()  # as `redis.sha1hex`


@dataclass(frozen=True)
class Keys:
    """The keys and channels of the system with this prefix. The prefix contains no colon."""

    prefix: str = "golem"

    @property
    def wire(self) -> str:
        """The version of what is in Redis (`broker.wire`)."""
        return f"{self.prefix}:wire"

    @property
    def salt(self) -> str:
        """The secret of ids that are derived from content (`broker.content_id`), 32 bytes. Producers may read it, and
        create it where there is none."""
        return f"{self.prefix}:salt"

    @property
    def totals(self) -> str:
        """How many jobs were submitted and have ended in each state since the system began (hash); never expires.
        Producers may add to it."""
        return f"{self.prefix}:totals"

    # -- jobs: expire GOLEM_KEEP_S after the Outcome was written, or UNCLAIMED_S after registration if never published

    def job(self, id: str) -> str:
        """A job's record and the results of its finished stages (hash)."""
        return f"{self.prefix}:job:{id}"

    def outcome(self, id: str) -> str:
        """A job's Outcome (JSON)."""
        return f"{self.prefix}:outcome:{id}"

    @property
    def ended(self) -> str:
        """Channel: hashes of the ids of jobs as they end."""
        return f"{self.prefix}:ended"

    # -- many jobs: a group expires GOLEM_KEEP_S after the end of its last job

    def group(self, name: str) -> str:
        """The counters of a group (hash): `jobs`, each state of an Outcome, and `at:<stage>`, the jobs that wait for a
        stage or are in it; `cancelled_at`, if it was cancelled."""
        return f"{self.prefix}:group:{name}"

    def group_ends(self, name: str) -> str:
        """The ends of a group's jobs in their order: id and state (stream)."""
        return f"{self.prefix}:group-ends:{name}"

    def owner(self, hashed: str) -> str:
        """The jobs of one submitter: id -> when it was submitted, Unix seconds of the server (sorted set, bounded)."""
        return f"{self.prefix}:owner:{hashed}"

    def label_sets(self, hashed: str) -> str:
        """The label sets that one submitter has stored: name -> JSON (hash, bounded); expires a while after one of them
        was last used."""
        return f"{self.prefix}:label-sets:{hashed}"

    @property
    def expiring(self) -> str:
        """The unfinished jobs that have a deadline: id -> Unix seconds of the server (sorted set). Producers may write
        it and not read it."""
        return f"{self.prefix}:expiring"

    @property
    def outbox(self) -> str:
        """The ends that a URL has to be told: id, URL, Outcome (stream). Producers may write it, not read it."""
        return f"{self.prefix}:outbox"

    # -- webhooks: a message lives until it is delivered, or for a while as a dead one (`broker.webhooks.outbox`)

    def webhook(self, id: str) -> str:
        """A message for a URL (hash): job, url, origin, body, at, tries, takes, error."""
        return self.webhook_prefix + id

    @property
    def webhook_prefix(self) -> str:
        """Prefix of the keys of all messages."""
        return f"{self.prefix}:webhook:"

    def webhooks_of(self, origin: str) -> str:
        """The messages for an origin (`https://host:port`): id -> when the next try is due, or the lease of the present
        one ends, Unix seconds of the server (sorted set)."""
        return f"{self.webhooks}:{origin}"

    @property
    def webhooks(self) -> str:
        """Origin -> when the first of its messages is due (sorted set)."""
        return f"{self.prefix}:webhooks"

    @property
    def webhooks_dead(self) -> str:
        """Ids of the messages that were given up, newest first; bounded (list)."""
        return f"{self.prefix}:webhooks-dead"

    @property
    def webhooks_ready(self) -> str:
        """Which URLs the deliverer of this system accepts (JSON); absent until one has started. Producers may read
        it."""
        return f"{self.prefix}:webhooks-ready"

    # -- audio

    def audio(self, id: str) -> str:
        """The bytes of a job's audio."""
        return self.audio_prefix + hashed(id)

    def upload(self, name: str) -> str:
        """Audio that is on its way: the bytes that have come. It expires UNCLAIMED_S after the last of them."""
        return f"{self.prefix}:upload:{name}"

    @property
    def audio_prefix(self) -> str:
        """Prefix of the audio keys, for a script that receives hashes of ids."""
        return f"{self.prefix}:vault:"

    @property
    def vault_total(self) -> str:
        """Bytes reserved in total."""
        return f"{self.prefix}:vault-total"

    def vault_name(self, key: str) -> str:
        """The name under which the vault books a key: without the prefix."""
        return key.removeprefix(f"{self.prefix}:")

    @property
    def replicated(self) -> str:
        """Written after a submit that replicas have to confirm; expires at once. Producers may write it."""
        return f"{self.prefix}:replicated"

    @property
    def vault_sizes(self) -> str:
        """Name of an entry -> bytes reserved (hash)."""
        return f"{self.prefix}:vault-sizes"

    @property
    def vault_leaving(self) -> str:
        """The same -> when its bytes expire, Unix seconds of the server (sorted set)."""
        return f"{self.prefix}:vault-leaving"

    @property
    def vault_ended(self) -> str:
        """The same for ended jobs: their bytes are dropped earlier if a new job needs the space."""
        return f"{self.prefix}:vault-ended"

    # -- label sets and vocabularies too large for records: kept while jobs use them

    def labels(self, sha256: str) -> str:
        """A stored label set (JSON)."""
        return f"{self.prefix}:labels:{sha256}"

    def vocabulary(self, sha256: str) -> str:
        """A stored vocabulary (JSON)."""
        return f"{self.prefix}:vocabulary:{sha256}"

    def is_shared(self, key: str) -> bool:
        """Return whether a key is that of a stored label set or vocabulary of this system. A job record, which names
        it, is untrusted."""
        return key.startswith((self.labels(""), self.vocabulary("")))

    def users(self, stored: str) -> str:
        """The unfinished jobs that use a stored label set or vocabulary (set); `stored` is its key."""
        kind = stored.split(":")[1]
        return stored.replace(f"{self.prefix}:{kind}:", f"{self.prefix}:{kind}-users:", 1)

    # -- queues

    def queue(self, name: str) -> str:
        """The waiting messages of a queue, the next one last (list). Celery's replies to remote control have queues of
        their own, which expire."""
        return f"{self.prefix}:queue:{name}"

    def lane(self, name: str, lane: Lane) -> str:
        """The waiting messages of a lane of a queue. The bulk lane is the list that kombu knows."""
        return self.queue(name) if lane == "bulk" else f"{self.queue(name)}:{lane}"

    def wake(self, queue: str) -> str:
        """The wake mark that an idle worker blocks on (sorted set with one member)."""
        return f"{self.prefix}:wake:{queue}"

    @property
    def bindings(self) -> str:
        """Kombu's queues of an exchange (set); `%s` stands for the exchange."""
        return f"{self.prefix}:bindings:%s"

    @property
    def bindings_permanent(self) -> str:
        """Those of them that do not expire (set); `%s` stands for the exchange."""
        return f"{self.prefix}:bindings-permanent:%s"

    @property
    def bindings_deadlines(self) -> str:
        """When kombu deletes the queues of an exchange (sorted set)."""
        return f"{self.prefix}:bindings-deadlines"

    @property
    def fanout(self) -> str:
        """Prefix of the channels of remote control and events; `{db}` stands for the database, because channels are
        common to all databases of a server."""
        return f"{self.prefix}:fanout:{{db}}."

    # -- messages in hand: an entry is deleted when its message is acknowledged, requeued or becomes a dead letter

    @property
    def unacked(self) -> str:
        """Kombu's unacknowledged hash: tag -> `[message, exchange, routing key]`."""
        return f"{self.prefix}:unacked"

    @property
    def unacked_index(self) -> str:
        """Tag -> when its lease was last renewed (sorted set)."""
        return f"{self.prefix}:unacked-index"

    @property
    def books(self) -> dict[str, str]:
        """Kombu's transport options with these names: another Celery app on the same database sweeps kombu's default
        names by its own clock. The third is the mutex of kombu's sweep, which ours replaces."""
        return {
            "unacked_key": self.unacked,
            "unacked_index_key": self.unacked_index,
            "unacked_mutex_key": f"{self.prefix}:unacked-mutex",
        }

    @property
    def holders(self) -> str:
        """Tag -> node name of the worker that has it (hash)."""
        return f"{self.prefix}:holders"

    @property
    def deliveries(self) -> str:
        """Tag -> number of deliveries (hash). A tag names one published message: a retry has a new one."""
        return f"{self.prefix}:deliveries"

    @property
    def crashes(self) -> str:
        """Tag -> last error of a worker that failed on it (hash)."""
        return f"{self.prefix}:crashes"

    @property
    def dead(self) -> str:
        """Dead letters (JSON: raw, why, queue, at, box, deliveries, error), newest first; bounded (list)."""
        return f"{self.prefix}:dead"

    @property
    def dying(self) -> str:
        """Copies of those dead letters whose job has no Outcome yet (list)."""
        return f"{self.prefix}:dying"

    @property
    def probe(self) -> str:
        """Written to see whether the server accepts writes; expires at once."""
        return f"{self.prefix}:probe"

    # -- boxes: expire a few seconds after the box last renewed them

    def box(self, node: str) -> str:
        """A worker's claim on its node name, with its reported state (hash)."""
        return self.box_prefix + node

    @property
    def box_prefix(self) -> str:
        """Prefix of the keys of all boxes."""
        return f"{self.prefix}:box:"

    @property
    def boxes(self) -> str:
        """Node name -> when its worker last renewed its claim on it, by the server's time (sorted set). The other boxes
        drop a name that was not renewed for a minute; the key itself expires after the same time."""
        return f"{self.prefix}:boxes"

    def claim(self, queue: str) -> str:
        """The claims on a queue: node name -> when it last renewed its claim (sorted set). Each renewal drops the
        claims that are no longer believed."""
        return f"{self.prefix}:claim:{queue}"

    def checkpoint(self, stage: str) -> str:
        """The checkpoint that all live workers use for a stage (hash)."""
        return f"{self.prefix}:checkpoint:{stage}"

    @property
    def served(self) -> str:
        """Key of a queue -> when any box last took messages from it (hash)."""
        return f"{self.prefix}:served"

    @property
    def events(self) -> str:
        """Loads, unloads, out-of-memories and batches of all boxes (stream, bounded)."""
        return f"{self.prefix}:events"
