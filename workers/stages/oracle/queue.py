"""Decides which waiting items take free slots: those of one kind run together, and none waits for ever.

Pure but for `more`, which is asked for further items."""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Queue(Generic[Item]):
    """Items that wait, in order, each with its place: those of the batch, then those that `more` gave.

    `kind`: items of different kinds cannot run together; `width`: the room that an item needs in its slot.
    """

    def __init__(
        self,
        batch: Sequence[Item],
        more: Callable[[int], Sequence[Item]],
        kind: Callable[[Item], Hashable],
        width: Callable[[Item], int],
    ) -> None:
        self._more, self._kind, self._width = more, kind, width
        self._waiting: list[tuple[int, Item]] = []
        self._places = 0
        self._running: Hashable = None
        self._add(batch)

    def _add(self, items: Sequence[Item]) -> bool:
        self._waiting += enumerate(items, self._places)
        self._places += len(items)
        return bool(items)

    def begin(self, slots: int, fits: Callable[[Sequence[Item]], bool]) -> list[Item]:
        """The items that begin together when nothing runs: those of the first one's kind, as many as `fits` allows, at
        least one. They go on waiting until they are taken. Empty if nothing waits."""
        if len(self._waiting) < slots:
            self._add(self._more(slots - len(self._waiting)))
        if not self._waiting:
            return []
        self._running = self._kind(self._waiting[0][1])
        same = [item for _, item in self._waiting if self._kind(item) == self._running][:slots]
        count = 1
        while count < len(same) and fits(same[: count + 1]):
            count += 1
        return same[:count]

    def take(self, free: int, width: int) -> list[tuple[int, Item]]:
        """At most `free` items with their places for slots of this width, of the kind that runs. Further items are
        asked for only while none waits that cannot run now: its turn comes when all that run have ended."""
        taken = self._able(width)
        if len(taken) == len(self._waiting) < free and self._add(self._more(free - len(taken))):
            taken = self._able(width)
        taken = taken[:free]
        self._waiting = [one for one in self._waiting if one not in taken]
        return taken

    def _able(self, width: int) -> list[tuple[int, Item]]:
        return [one for one in self._waiting if self._kind(one[1]) == self._running and self._width(one[1]) <= width]
