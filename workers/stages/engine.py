"""The Engine protocol: how a stage's model is held and asked, and the fake that stands for one in tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

from golem_chain.shared.errors import GolemError

Ask = TypeVar("Ask", contravariant=True)
Answer = TypeVar("Answer", covariant=True)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Ready(Generic[Item]):
    """An ask that needs the model, prepared without it (decoded, tokenised…)."""

    item: Item


class Engine(Protocol):
    """One model family with its pre- and post-processing and its batching.

    `prepare` never touches the weights: it gives the final answer where none is needed (silence, an empty text),
    or a `Ready` that `run` takes. `run` is called only while the model is loaded, answers in the order of its
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

    def prepare(self, ask: object) -> object:
        """The answer itself, or a Ready. Raises a permanent GolemError for an ask that cannot be served."""
        ...

    def run(self, batch: Sequence[object]) -> list[object]:
        """One answer or GolemError for each item (the `item` of a Ready)."""
        ...


@runtime_checkable
class Prefetching(Protocol):
    """What an engine may offer beside: its weights brought near before they are wanted."""

    def prefetch(self) -> None:
        """Called from a thread of its own while another engine runs; touches neither the device nor the model."""
        ...


@dataclass
class FakeEngine:
    """An engine without a model, for tests of residency, tasks and batching: a size, counters, failures on order."""

    name: str
    weights_bytes: int = 1000
    working: int = 0
    fail_load: Exception | None = None
    fail_loads: int | None = None  # so many loads fail, None: all
    fail_prefetch: Exception | None = None
    fail_above: int | None = None  # a larger batch raises `error_above`
    error_above: Exception = field(default_factory=lambda: MemoryError("the fake device is full"))
    loaded: bool = False
    loads: int = 0
    unloads: int = 0
    prefetches: int = 0
    batches: list[int] = field(default_factory=list)

    def working_bytes(self, batch: int) -> int:
        return self.working * batch

    def load(self) -> None:
        if self.fail_load and self.fail_loads != 0:
            self.fail_loads = None if self.fail_loads is None else self.fail_loads - 1
            raise self.fail_load
        self.loaded = True
        self.loads += 1

    def unload(self) -> None:
        self.unloads += self.loaded
        self.loaded = False

    def prefetch(self) -> None:
        self.prefetches += 1
        if self.fail_prefetch:
            raise self.fail_prefetch

    def prepare(self, ask: object) -> object:
        if isinstance(ask, GolemError):
            raise ask
        return Ready(ask)

    def run(self, batch: Sequence[object]) -> list[object]:
        assert self.loaded, f"{self.name} was asked while it was not loaded"
        self.batches.append(len(batch))
        if self.fail_above is not None and len(batch) > self.fail_above:
            raise self.error_above
        return [item if isinstance(item, GolemError) else f"{self.name}({item})" for item in batch]
