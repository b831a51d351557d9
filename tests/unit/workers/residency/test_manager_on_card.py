"""The residency on a card whose allocator rounds, caches and refuses as PyTorch's does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from golem_chain.shared.errors import OutOfMemory
from golem_chain.workers.devices.memory import CudaMemory
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.runner import serve
from golem_chain.workers.stages.stub import StubEngine
from tests.support.card_memory import MIB, OTHER_WORDS, CardMemory, rounded, segment

WORDS = ["", *OTHER_WORDS]


@dataclass
class OnCard(StubEngine):
    """An engine that allocates its weights in tensors, and some memory for each item of a batch."""

    card: Any = None
    tensors: tuple[int, ...] = ()
    each: int = 0
    held: list[int] = field(default_factory=list)

    def load(self) -> None:
        for size in self.tensors:
            self.held.append(self.card.allocate(size))
        super().load()

    def unload(self) -> None:
        super().unload()
        while self.held:
            self.card.release(self.held.pop())

    def run(self, batch: Sequence[object]) -> list[object]:
        working: list[int] = []
        try:
            for _ in batch if self.each else ():
                working.append(self.card.allocate(self.each))  # noqa: PERF401 - what was allocated is released below
            return super().run(batch)
        finally:
            for block in working:
                self.card.release(block)


def on_card(card: CardMemory, monkeypatch: pytest.MonkeyPatch, budget: int, **tensors: Any) -> tuple[Residency, Any]:
    card.install(monkeypatch)
    engines = {
        name: OnCard(name, weights_bytes=sum(sizes), card=card, tensors=tuple(sizes)) for name, sizes in tensors.items()
    }
    return Residency(engines, CudaMemory(torch.device("cuda", 0)), "auto", budget), engines


@pytest.mark.parametrize(
    ("nbytes", "block", "reserved"),
    [
        (1, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (11 * MIB, 11 * MIB, 12 * MIB),
        (21 * MIB + 1, 21 * MIB + 512, 22 * MIB),
    ],
)
def test_sizes_are_rounded_as_in_torch(nbytes: int, block: int, reserved: int) -> None:
    assert (rounded(nbytes), segment(rounded(nbytes))) == (block, reserved)
    card = CardMemory(1 << 30)
    card.release(card.allocate(nbytes))
    assert (card.allocated, card.reserved) == (0, reserved), "freed blocks stay reserved"
    card.empty_cache()
    assert card.reserved == 0


def test_small_blocks_share_a_segment_and_freed_neighbours_become_one_block_again() -> None:
    card = CardMemory(1 << 30)
    blocks = [card.allocate(500_000) for _ in range(4)]
    assert card.reserved == 2 * MIB
    for block in blocks:
        card.release(block)
    card.allocate(MIB)
    card.allocate(MIB)
    assert card.reserved == 2 * MIB


def test_after_an_unload_nothing_stays_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    card = CardMemory(4 << 30, context=300 * MIB)
    residency, _ = on_card(card, monkeypatch, 3 << 30, a=[700_000] * 500, b=[3 * MIB] * 100)
    for stage in ("a", "b"):
        with residency.use(stage):
            assert card.reserved >= card.allocated >= residency.engines[stage].weights_bytes
    residency.unload_all("stop")
    assert card.reserved == card.allocated == 0


def test_what_rounding_takes_beyond_the_plan_is_refused_by_the_limit_and_room_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tensors of 10.1 MiB reserve 12 MiB each, a fifth more than their bytes. By their bytes both models fit into the
    budget, by their segments they do not."""
    card = CardMemory(4 << 30)
    size = 10 * MIB + 100_000
    residency, engines = on_card(card, monkeypatch, 2 * 100 * size + 20 * MIB, a=[size] * 100, b=[size] * 100)
    with residency.use("a"):
        pass
    with residency.use("b"):
        assert residency.resident == ("b",), "a was unloaded when the allocator refused"
    assert card.reserved <= card.limit
    assert not engines["a"].held


@pytest.mark.parametrize("words", WORDS)
def test_a_run_that_ran_out_is_halved_whoever_reports_it(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    card = CardMemory(2 << 30, context=300 * MIB, words=words)
    residency, engines = on_card(card, monkeypatch, 1 << 30, a=[100 * MIB])
    engines["a"].each = 150 * MIB  # with 724 MiB without context, 624 beside the weights: four fit, eight do not
    assert serve(residency, "a", list(range(8))).answers == [f"a({n})" for n in range(8)]
    assert engines["a"].batches == [4, 4]
    assert card.allocated == 100 * MIB


@pytest.mark.parametrize("words", WORDS)
def test_a_card_that_another_program_fills_is_a_retryable_error_in_any_words(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    card = CardMemory(2 << 30, context=300 * MIB, others=1600 * MIB, words=words)
    residency, _ = on_card(card, monkeypatch, 1 << 31, a=[200 * MIB])
    (answer,) = serve(residency, "a", [1]).answers
    assert isinstance(answer, OutOfMemory)
    assert answer.retryable
    assert card.reserved == 0, "nothing is left of the load that failed"


def test_the_peak_of_a_batch_is_learnt_as_it_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    card = CardMemory(4 << 30, context=300 * MIB)
    residency, engines = on_card(card, monkeypatch, 3 << 30, a=[100 * MIB])
    engines["a"].each = 5 * MIB
    serve(residency, "a", [1, 2, 3])
    assert residency.working_bytes("a", 3) == 15 * MIB
