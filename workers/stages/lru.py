"""A bounded LRU cache with a weight for each entry."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Lru(Generic[Key, Value]):
    """An LRU cache with a total weight of at most `limit`. Not thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.weight = 0
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """The value, now the most recently used; None if it is not cached."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def put(self, key: Key, value: Value, weight: int = 1) -> None:
        """Cache a value, unless it is heavier than the limit."""
        if key in self._entries:
            self.weight -= self._entries.pop(key)[1]
        if weight > self.limit:
            return
        self._entries[key] = (value, weight)
        self.weight += weight
        while self.weight > self.limit:
            self.weight -= self._entries.popitem(last=False)[1][1]

    def __len__(self) -> int:
        return len(self._entries)
