"""One batch of a stage from asks to answers: prepare without the model, run with it, errors in their places.

out of memory at work:    unload all -> half the batch, down to one item -> OutOfMemory for the item that fails alone
out of memory in a load:  what is left of the batch ends in OutOfMemory, since no smaller batch has smaller weights
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from golem_chain.shared.errors import GolemError, OutOfMemory
from golem_chain.workers.devices.memory import is_out_of_memory
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.stages.engine import Ready

#: What surrounds the work of an engine, and only that: no load and no bookkeeping.
Around = Callable[[], AbstractContextManager[None]]


@dataclass
class Served:
    """What a batch gave and cost. `answers` stand in the order of the asks, a GolemError where one failed."""

    answers: list[object] = field(default_factory=list)
    load_s: float = 0.0
    compute_s: float = 0.0
    batch_size: int = 0  # items that the model saw at once, at most
    peak_bytes: int = 0
    device: str = "cpu"


def serve(
    residency: Residency,
    stage: str,
    asks: Sequence[object],
    around: Around = nullcontext,
    next_stage: str | None = None,
) -> Served:
    """Answer every ask. Whatever concerns one item alone stands in its place; raises a GolemError only for what
    concerns the whole batch (no model, above the budget). The weights of `next_stage` are fetched meanwhile."""
    engine, served = residency.engines[stage], Served(device=residency.memory.device)
    started = time.perf_counter()
    with around():
        served.answers = [_prepared(engine.prepare, ask) for ask in asks]
    todo = [n for n, answer in enumerate(served.answers) if isinstance(answer, Ready)]
    served.compute_s = time.perf_counter() - started
    size = residency.batch_limit(stage, len(todo)) if todo else 0
    while todo:
        batch = todo[:size]
        try:
            done = _run(residency, stage, batch, served, around, next_stage)
        except OutOfMemory as exc:
            for n in todo:
                served.answers[n] = exc
            break
        if done:
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


def _run(
    residency: Residency, stage: str, todo: list[int], served: Served, around: Around, next_stage: str | None
) -> bool:
    """Run the items at these places of the batch and put their answers there; False where memory ran out at work.
    Raises OutOfMemory where the model cannot be loaded.

    What ran out is told by the return and not by an exception, whose traceback would keep the failed batch's tensors.
    """
    items = [ready.item for n in todo if isinstance(ready := served.answers[n], Ready)]
    loaded = False
    try:
        with residency.use(stage, len(items)) as engine:
            loaded = True
            served.load_s += residency.last_load_s
            if next_stage is not None:
                residency.prefetch(next_stage)
            started = time.perf_counter()
            with around():
                answers = engine.run(items)
            served.compute_s += time.perf_counter() - started
            served.peak_bytes = max(served.peak_bytes, residency.memory.read().peak)
    except Exception as exc:
        if loaded and (isinstance(exc, OutOfMemory) or is_out_of_memory(exc)):
            return False
        raise
    if len(answers) != len(items):
        raise GolemError(f"{stage} gave {len(answers)} answers to {len(items)} asks: a fault of its engine.")
    for n, answer in zip(todo, answers, strict=True):
        served.answers[n] = answer
    served.batch_size = max(served.batch_size, len(items))
    return True
