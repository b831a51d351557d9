"""The loop of the Oracle: rows that are done leave, rows that wait take their slots, all others go on.

Each pass of the model is followed by one read, of the tokens that it chose."""

from collections.abc import Callable, Sequence
from typing import Protocol

from golem_chain.workers.stages.oracle.row import Row


class Texts(Protocol):
    """Running texts: they hold slots, caches and positions, and choose tokens."""

    @property
    def rows(self) -> Sequence[Row]:
        """Those that run."""
        ...

    @property
    def free(self) -> int:
        """How many can join now."""
        ...

    def join(self, rows: Sequence[Row]) -> Sequence[tuple[Row, int]]:
        """Read the prompts of at most `free` rows, and choose the first token of each: never an end token, since a
        reply has at least one token."""
        ...

    def step(self) -> Sequence[tuple[Row, int]]:
        """Choose the next token of each row that runs. -1 stands for logits that are not finite."""
        ...

    def leave(self, rows: Sequence[Row]) -> None:
        """Free the slots of these rows."""
        ...


def generate(
    texts: Texts,
    ends: frozenset[int],
    waiting: Callable[[int], Sequence[Row]],
    done: Callable[[Row], None] = lambda _: None,
) -> None:
    """Fill `new` of each row that `waiting(n)` gives, at most n at a time, until none runs and none waits. `ends` are
    the end tokens; `done` is called once for each row, as soon as it has ended."""
    while True:
        while (free := texts.free) and (rows := waiting(free)):
            _advance(texts, texts.join(rows), ends, done)
        if not texts.rows:
            return
        _advance(texts, texts.step(), ends, done)


def _advance(
    texts: Texts, chosen: Sequence[tuple[Row, int]], ends: frozenset[int], done: Callable[[Row], None]
) -> None:
    for row, token in chosen:
        row.advance(token, ends)
    gone = [row for row, _ in chosen if row.done]
    texts.leave(gone)
    for row in gone:
        done(row)
