"""The Engine protocol: how a stage's model is held and asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from golem_chain.shared.errors import GolemError

Request = TypeVar("Request", contravariant=True)
Item = TypeVar("Item")
Answer = TypeVar("Answer", covariant=True)


@dataclass(frozen=True)
class Ready(Generic[Item]):
    """A request that needs the model, prepared without it (decoded, tokenised…)."""

    item: Item


class Engine(Protocol[Request, Item, Answer]):
    """One model family with its pre- and post-processing and its batching.

    `prepare` never touches the weights: it gives the final answer where none is needed (silence, an empty text),
    or a `Ready` whose item `run` takes. `run` is called only while the model is loaded, answers in the order of its
    batch, and gives a GolemError in the place of an item that failed alone.
    """

    name: str

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights on the device, known before they are loaded."""
        ...

    def working_bytes(self, batch: int) -> int:
        """An estimate of the working memory that a batch of that many items takes beside the weights, bytes."""
        ...

    def load(self) -> None:
        """Bring the weights to the device. Raises ModelMissing, ModelCorrupt, OutOfMemory."""
        ...

    def unload(self) -> None:
        """Drop every reference to the weights. Never raises; harmless when nothing is loaded."""
        ...

    def prepare(self, request: Request) -> Answer | Ready[Item]:
        """The answer itself, or a Ready. Raises a permanent GolemError for a request that cannot be served."""
        ...

    def run(self, batch: Sequence[Item]) -> Sequence[Answer | GolemError]:
        """One answer or GolemError for each item."""
        ...


#: An engine whose stage is not known: residency carries requests to it and answers from it without looking at them.
AnyEngine = Engine[Any, Any, Any]


@runtime_checkable
class Prefetching(Protocol):
    """What an engine may offer beside: its weights brought near before they are wanted."""

    def prefetch(self) -> None:
        """Called from a thread of its own while another engine runs; touches neither the device nor the model."""
        ...
