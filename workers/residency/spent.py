"""What a take gives out: its answers, what each of them cost, and the hooks through which it tells of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

#: A context manager entered around an engine's `run` or `prepare`, but not around loads and bookkeeping.
Around = Callable[[], AbstractContextManager[None]]
#: One entered inside `Around`, around what must not be interrupted there: an answer that is given out in the middle of
#: a run, or the preparation of what takes its place. It gets how much of the run is not kept by then, seconds.
Within = Callable[[float], AbstractContextManager[None]]
#: Called at the beginning of each step with the seconds of audio to run, or None if the step's length is not known.
Alive = Callable[[float | None], None]
#: Whether the requests that have no answer yet are to give way to an interactive one.
GivesWay = Callable[[], bool]


@dataclass(frozen=True)
class Spent:
    """What one answer cost. The seconds add up to the time from the start of the take to the answer."""

    waited_s: float = 0.0  # for cheaper requests of the take, for a free slot, and for runs that were out of memory
    load_s: float = 0.0  # for the model
    compute_s: float = 0.0  # preparing the group, and running the batch with this item, or its row
    batch_size: int = 0  # items that ran at once; 0 if the model was not needed
    peak_bytes: int = 0
    device: str = "cpu"


#: Receives an answer, or the GolemError in its place, as soon as it is ready: (place of the request, answer, cost).
Give = Callable[[int, object, Spent], None]


@dataclass
class Served:
    """A take's results and cost. `answers` are in the order of the requests; a failed one is a GolemError."""

    answers: list[object] = field(default_factory=list)
    load_s: float = 0.0
    compute_s: float = 0.0
    batch_size: int = 0  # the largest number of items that ran at once
    peak_bytes: int = 0
    device: str = "cpu"
    put_off: list[int] = field(default_factory=list)  # places of the requests that were not run: they take long
    yielded: list[int] = field(default_factory=list)  # likewise: they give way to interactive ones
