"""Runs one batch of a stage: prepares requests without the model, runs the rest with it, keeps answers in order.

out of memory in a run:   unload all -> half the batch, down to one item -> OutOfMemory for the item that fails alone
out of memory in a load:  OutOfMemory for the rest of the batch, since the weights are the same for any batch size
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from golem_chain.shared.errors import GolemError, OutOfMemory
from golem_chain.workers.devices.memory import is_out_of_memory
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.stages.engine import AnyEngine, Ready

#: A context manager entered around an engine's `prepare` and `run`, but not around loads and bookkeeping.
Around = Callable[[], AbstractContextManager[None]]


@dataclass
class Served:
    """A batch's results and cost. `answers` are in the order of the requests; a failed one is a GolemError."""

    answers: list[object] = field(default_factory=list)
    load_s: float = 0.0
    compute_s: float = 0.0
    batch_size: int = 0  # the largest number of items that ran at once
    peak_bytes: int = 0
    device: str = "cpu"


def serve(
    residency: Residency,
    stage: str,
    requests: Sequence[object],
    around: Around = nullcontext,
    next_stage: str | None = None,
) -> Served:
    """Answer every request, prefetching the weights of `next_stage` meanwhile. An error of a single request takes the
    place of its answer. Raises a GolemError only if the whole batch is affected (no model, above the budget)."""
    engine, served = residency.engines[stage], Served(device=residency.memory.device)
    answers: dict[int, object] = {}
    items: dict[int, object] = {}  # index of the request → prepared item, removed once answered
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
    """Run a batch; return its answers, or None if memory ran out in the run. Raises OutOfMemory if the model cannot be
    loaded.

    Returns None because an exception's traceback would keep the failed batch's tensors alive.
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
        raise GolemError(f"{stage} gave {len(answers)} answers to {len(items)} requests: a bug in its engine.")
    served.batch_size = max(served.batch_size, len(items))
    return answers
