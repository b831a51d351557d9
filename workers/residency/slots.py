"""The slots of a streaming run: which requests are in them, since when, and in what company. Touches no model.

    time ─►        slot 1  aaaaaa cccccccc        c began when a was done: its time in the model counts from there
                   slot 2  bbbbbbbbbbb dddd       what is spent between two steps, on Redis or on preparing c, does not

A run that is broken off loses what its rows have computed. A row has the share of one slot in each step, so that is the
mean of their times so far, over all slots.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Row:
    """A request in a slot."""

    place: int  # in the take
    began_s: float  # by the model's clock
    company: int = 1  # the largest number of requests in the slots so far, itself included


class Slots:
    """The slots of one run. `clock` returns monotonic seconds."""

    def __init__(self, count: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.count, self._clock = count, clock
        self._begun: list[Row] = []  # as the engine counts them: the batch, then what followed
        self._inside: dict[int, Row] = {}  # by the engine's number
        self._paused_at: float | None = None
        self.away_s = 0.0  # in which the model did not run
        self.fullest = 0  # the largest number of requests that were inside at once

    @property
    def places(self) -> list[int]:
        """The places of the requests that have begun and are not done."""
        return [row.place for row in self._inside.values()]

    def begin(self, places: Sequence[int]) -> None:
        """These requests begin."""
        for place in places:
            row = Row(place, self._model_s())
            self._inside[len(self._begun)] = row
            self._begun.append(row)
        self.fullest = max(self.fullest, len(self._inside))
        for row in self._inside.values():
            row.company = max(row.company, len(self._inside))

    def end(self, number: int) -> tuple[Row, float]:
        """The request with the engine's `number` is done; return it with its seconds in the model. Raises KeyError if
        it is in no slot: it was never begun, or is done already."""
        row = self._inside.pop(number)
        return row, self._model_s() - row.began_s

    def unkept_s(self) -> float:
        """What the run would lose if it were broken off now, seconds."""
        now = self._model_s()
        return sum(now - row.began_s for row in self._inside.values()) / self.count

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The model does not run inside the block. Not nested."""
        self._paused_at = self._clock()
        try:
            yield
        finally:
            self.away_s += self._clock() - self._paused_at
            self._paused_at = None

    def _model_s(self) -> float:
        return (self._clock() if self._paused_at is None else self._paused_at) - self.away_s
