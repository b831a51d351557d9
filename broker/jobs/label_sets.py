"""The label sets that one submitter has stored under names of its own, for `labels=@name`."""

from typing import cast

import redis
from pydantic import ValidationError

from golem_chain.broker.keys import Keys
from golem_chain.shared.errors import BadLabels
from golem_chain.shared.records import LabelSet

#: Sets of one submitter, and the size of one as JSON, bytes.
SETS_MOST, SET_MOST_BYTES = 100, 256 * 1024
#: For how long sets are kept after one of them was last used, seconds.
KEPT_S = 30 * 24 * 3600


class LabelSets:
    """The stored label sets of one submitter. `owner`: the name under which its jobs are listed."""

    def __init__(self, client: redis.Redis, keys: Keys, owner: str) -> None:
        self._client, self._key = client, keys.label_sets(owner)

    def names(self) -> list[str]:
        """Return the names, sorted."""
        found = cast("list[bytes]", self._client.hkeys(self._key))
        return sorted(name.decode(errors="replace") for name in found)

    def get(self, name: str) -> LabelSet | None:
        """Return a set, None if there is none of this name or it cannot be read. Keeps all sets for longer."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hget(self._key, name)
            pipe.expire(self._key, KEPT_S)
            body, _ = pipe.execute()
        try:
            return LabelSet.model_validate_json(body) if body else None
        except ValidationError:
            return None

    def put(self, name: str, labels: LabelSet) -> None:
        """Store a set; one of the same name is replaced. Raises BadLabels if it is too large or there are too many."""
        body = labels.model_dump_json(exclude_defaults=True).encode()
        if len(body) > SET_MOST_BYTES:
            limit = f"the limit is {SET_MOST_BYTES >> 10} KiB"
            raise BadLabels(f"The label set has {len(body) >> 10} KiB as JSON; {limit}: shorten it.")
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hexists(self._key, name)
            pipe.hlen(self._key)
            there, count = pipe.execute()
        if count >= SETS_MOST and not there:
            raise BadLabels(f"There are {count} stored label sets, and the limit is {SETS_MOST}: delete one.")
        with self._client.pipeline() as pipe:
            pipe.hset(self._key, name, body)
            pipe.expire(self._key, KEPT_S)
            pipe.execute()

    def drop(self, name: str) -> bool:
        """Delete a set; return False if there is none of this name."""
        return bool(self._client.hdel(self._key, name))
