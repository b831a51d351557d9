"""One batch of a stage from requests to answers: prepare without the model, run with it, errors in their places.

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
from golem_chain.workers.stages.engine import AnyEngine, Ready

#: What surrounds the work of an engine, and only that: no load and no bookkeeping.
Around = Callable[[], AbstractContextManager[None]]


@dataclass
class Served:
    """What a batch gave and cost. `answers` stand in the order of the requests, a GolemError where one failed."""

    answers: list[object] = field(default_factory=list)
    load_s: float = 0.0
    compute_s: float = 0.0
    batch_size: int = 0  # items that the model saw at once, at most
    peak_bytes: int = 0
    device: str = "cpu"


def serve(
    residency: Residency,
    stage: str,
    requests: Sequence[object],
    around: Around = nullcontext,
    next_stage: str | None = None,
) -> Served:
    """Answer every request. Whatever concerns one alone stands in its place; raises a GolemError only for what
    concerns the whole batch (no model, above the budget). The weights of `next_stage` are fetched meanwhile."""
    engine, served = residency.engines[stage], Served(device=residency.memory.device)
    answers: dict[int, object] = {}
    items: dict[int, object] = {}  # what the model is to see, by the place of its request; gone when it is answered
    started = time.perf_counter()
    with around():
        for place, request in enumerate(requests):
            found = _prepared(engine, request)
            if isinstance(found, Ready):
                items[place] = found.item
            else:
                answers[place] = found
    served.compute_s = time.perf_counter() - started
    size = residency.batch_limit(stage, len(items)) if items else 0
    while items:
        batch = list(items)[:size]
        try:
            given = _run(residency, stage, [items[place] for place in batch], served, around, next_stage)
        except OutOfMemory as exc:
            answers |= dict.fromkeys(items, exc)
            break
        if given is not None:
            answers |= zip(batch, given, strict=True)
        else:
            residency.ran_out(stage, len(batch))
            if len(batch) > 1:
                size = residency.batch_limit(stage, len(batch) // 2)
                continue
            answers[batch[0]] = OutOfMemory(residency.no_room(stage))
        for place in batch:
            del items[place]
    served.answers = [answers[place] for place in range(len(requests))]
    return served


def _prepared(engine: AnyEngine, request: object) -> object:
    try:
        return engine.prepare(request)
    except GolemError as exc:
        return exc


def _run(
    residency: Residency,
    stage: str,
    items: Sequence[object],
    served: Served,
    around: Around,
    next_stage: str | None,
) -> Sequence[object] | None:
    """Run a batch; its answers, or None where memory ran out at work. Raises OutOfMemory where the model cannot be
    loaded.

    What ran out is told by the return and not by an exception, whose traceback would keep the failed batch's tensors.
    """
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
            return None
        raise
    if len(answers) != len(items):
        raise GolemError(f"{stage} gave {len(answers)} answers to {len(items)} requests: a fault of its engine.")
    served.batch_size = max(served.batch_size, len(items))
    return answers
