"""One batch of a stage from asks to answers: prepare without the model, run with it, errors in their places.

out of memory: unload all -> half the batch, down to one item -> OutOfMemory for the item that fails alone
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.errors import GolemError, OutOfMemory
from workers.residency.memory import is_out_of_memory
from workers.residency.residency import Residency
from workers.stages.engine import Ready


@dataclass
class Served:
    """What a batch gave and cost. `answers` stand in the order of the asks, a GolemError where one failed."""

    answers: list[object] = field(default_factory=list)
    load_s: float = 0.0
    compute_s: float = 0.0
    batch_size: int = 0  # items that the model saw at once, at most
    peak_bytes: int = 0
    device: str = "cpu"


def serve(residency: Residency, stage: str, asks: Sequence[object]) -> Served:
    """Answer every ask. Whatever concerns one item alone stands in its place; raises a GolemError only for what
    concerns the whole batch (no model, above the budget)."""
    engine, served = residency.engines[stage], Served(device=residency.memory.device)
    started = time.perf_counter()
    served.answers = [_prepared(engine.prepare, ask) for ask in asks]
    todo = [n for n, answer in enumerate(served.answers) if isinstance(answer, Ready)]
    served.compute_s = time.perf_counter() - started
    size = residency.batch_limit(stage, len(todo)) if todo else 0
    while todo:
        batch = todo[:size]
        if _run(residency, stage, batch, served):
            todo = todo[size:]
            continue
        residency.ran_out(stage, len(batch))
        if len(batch) > 1:
            size = residency.batch_limit(stage, len(batch) // 2)
        else:
            served.answers[batch[0]] = OutOfMemory(residency.no_room(stage))
            todo = todo[1:]
    return served


def _prepared(prepare: object, ask: object) -> object:
    try:
        return prepare(ask)  # type: ignore[operator]
    except GolemError as exc:
        return exc


def _run(residency: Residency, stage: str, todo: list[int], served: Served) -> bool:
    """Run the items at these places of the batch and put their answers there; False where memory ran out.

    What ran out is told by the return and not by an exception, whose traceback would keep the failed batch's tensors.
    """
    items = [ready.item for n in todo if isinstance(ready := served.answers[n], Ready)]
    try:
        with residency.use(stage, len(items)) as engine:
            served.load_s += residency.last_load_s
            started = time.perf_counter()
            answers = engine.run(items)
            served.compute_s += time.perf_counter() - started
            served.peak_bytes = max(served.peak_bytes, residency.memory.read().peak)
    except Exception as exc:
        if isinstance(exc, OutOfMemory) or is_out_of_memory(exc):
            return False
        raise
    if len(answers) != len(items):
        raise GolemError(f"{stage} gave {len(answers)} answers to {len(items)} asks: a fault of its engine.")
    for n, answer in zip(todo, answers, strict=True):
        served.answers[n] = answer
    served.batch_size = max(served.batch_size, len(items))
    return True
