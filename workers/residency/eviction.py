"""Pure memory decisions: which models to unload for a stage, and how large its batch may be.

resident        wanted   mode            budget   -> unload
scribe          oracle   1               any      -> scribe
scribe oracle   interp.  auto            3 of 4   -> the least recently used, until it fits
(nothing)       oracle   any             < need   -> refused, nothing is unloaded
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Held:
    """A resident model."""

    stage: str
    weights_bytes: int
    last_used: float  # any monotonic clock, seconds


@dataclass(frozen=True)
class Plan:
    """What to do before the wanted stage can run."""

    evict: tuple[str, ...] = ()  # in this order
    fits: bool = True
    need_bytes: int = 0  # weights plus working memory of the wanted stage


def evict(
    wanted: str, weights_bytes: int, working_bytes: int, resident: Sequence[Held], budget_bytes: int, mode: str
) -> Plan:
    """Decide which residents to unload so that `wanted` fits into the budget.

    `weights_bytes` and `working_bytes` are those of the wanted stage. Other residents keep their weights but need no
    working memory, since one stage runs at a time. In modes `1` and `0` all other residents are evicted.
    """
    need = weights_bytes + working_bytes
    if need > budget_bytes:
        return Plan(fits=False, need_bytes=need)
    others = sorted((held for held in resident if held.stage != wanted), key=lambda held: held.last_used)
    if mode != "auto":
        return Plan(tuple(held.stage for held in others), need_bytes=need)
    gone: list[str] = []
    taken = need + sum(held.weights_bytes for held in others)
    for held in others:
        if taken <= budget_bytes:
            break
        gone.append(held.stage)
        taken -= held.weights_bytes
    return Plan(tuple(gone), need_bytes=need)


def largest_batch(asked: int, free_bytes: int, working_bytes: Callable[[int], int]) -> int:
    """The largest batch of at most `asked` items whose working memory is at most `free_bytes`; at least 1.

    `working_bytes(n)` must not decrease as n grows. One item is always allowed: `evict` decides whether it fits.
    """
    low, high = 1, max(asked, 1)
    while low < high:
        middle = (low + high + 1) // 2
        if working_bytes(middle) <= free_bytes:
            low = middle
        else:
            high = middle - 1
    return low
