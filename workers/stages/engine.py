"""The Engine protocol that every stage implements."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from golem_chain.shared.errors import GolemError

Request = TypeVar("Request", contravariant=True)
Item = TypeVar("Item")
Answer = TypeVar("Answer", covariant=True)


@dataclass(frozen=True)
class Ready(Generic[Item]):
    """A request prepared for the model (decoded, tokenised…) without using it."""

    item: Item
    audio_s: float = 0.0  # its time limit grows with these seconds of audio


class Engine(Protocol[Request, Item, Answer]):
    """A model family with its pre-processing, post-processing and batching.

    `prepare` never touches the weights: it returns the final answer if the model is not needed (silence, empty text),
    otherwise a `Ready` with an item for `run`. `run` is called only while the model is loaded. It answers in the order
    of the batch, with a GolemError in place of the answer of an item that failed alone.
    """

    name: str

    @property
    def weights_bytes(self) -> int:
        """Size of the weights on the device in bytes, known before loading."""
        ...

    def working_bytes(self, batch: int) -> int:
        """Estimated working memory of a batch of that size, in bytes, without the weights. The size is the number of
        items, unless the engine is `Sizing`. Must not decrease as the batch grows."""
        ...

    def load(self) -> None:
        """Load the weights onto the device. Raises ModelMissing, ModelCorrupt, OutOfMemory."""
        ...

    def unload(self) -> None:
        """Drop every reference to the weights. Never raises; does nothing if not loaded."""
        ...

    def prepare(self, request: Request) -> Answer | Ready[Item]:
        """The final answer, or a Ready. Raises a permanent GolemError for a request that cannot be served."""
        ...

    def run(self, batch: Sequence[Item]) -> Sequence[Answer | GolemError]:
        """One answer or GolemError for each item."""
        ...


#: An engine of any stage: residency passes requests and answers through without inspecting them.
AnyEngine = Engine[Any, Any, Any]


@runtime_checkable
class Prefetching(Protocol):
    """An engine that can read its weights in advance."""

    def prefetch(self) -> None:
        """Called in a separate thread while another engine runs; must not touch the device or the model."""
        ...


@runtime_checkable
class Estimating(Protocol):
    """An engine that can estimate what a request costs. With any other engine all requests cost the same. A request of
    at least its `full_cost`, if it has one, fills the model's batches by itself and runs alone."""

    def cost(self, request: Any) -> float:
        """The cost of preparing and running a request, in any unit: finite and above 0, compared only with the costs of
        other requests. Reads at most headers, and never raises."""
        ...


@runtime_checkable
class Sizing(Protocol):
    """An engine whose items need different amounts of memory. With any other engine the size of a batch is the number
    of its items."""

    def size(self, batch: Sequence[Any]) -> int:
        """The size of a batch of items, at least 1, as `working_bytes` counts it; must not decrease with more items."""
        ...


@runtime_checkable
class Dividing(Sizing, Protocol):
    """An engine that can run any batch in portions: of at most the size `at_once`, which is set before each run."""

    at_once: int


@runtime_checkable
class Streaming(Protocol):
    """An engine that answers the items of a batch one by one, and takes others in their places: a row that is done
    leaves, and an item that waits begins. At most `slots` run at once, which is set before each run."""

    slots: int

    def run_each(
        self,
        batch: Sequence[Any],
        give: Callable[[int, Any], None],
        more: Callable[[int], Sequence[Any]],
    ) -> None:
        """Run a batch. `give(place, answer)` is called once for each item as soon as it is done, with a GolemError in
        place of the answer of one that failed alone; places count the batch, then what `more` gave, in order. `more(n)`
        is asked for at most n further items when n slots are free, and gives none if nothing waits."""
        ...
