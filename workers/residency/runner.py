"""Runs one take of a stage in groups of similar cost, the cheapest first, and gives each answer out when it is ready.
Interactive requests come first; bulk gives way to interactive ones that wait, between two steps.

take ─ lane, cost ─► groups ─ pace ─► steps ─► for each: prepare without the model ─► run with it, in batches that fit

out of memory in a run:     unload all -> half the batch, down to one item -> half of what the engine computes of that
                            item at once, if it can divide it -> OutOfMemory for the item that fails alone
the model cannot be loaded: the error for all that need it, since the weights are the same for any batch

Steps are run by `take.py`, or, if the engine gives out the answers of a run one by one, by `streaming.py`.
"""

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from math import inf

from golem_chain.workers.residency import batches
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.pace import Pace
from golem_chain.workers.residency.spent import Alive, Around, Give, GivesWay, Served, Within
from golem_chain.workers.residency.streaming import StreamingTake
from golem_chain.workers.residency.take import Take
from golem_chain.workers.stages.engine import Estimating, Streaming


def serve(
    residency: Residency,
    stage: str,
    requests: Sequence[object],
    around: Around = nullcontext,
    next_stage: str | None = None,
    give: Give = lambda *_: None,
    alive: Alive = lambda _: None,
    *,
    preparing: Around = nullcontext,
    within: Within = lambda _: nullcontext(),
    at_once: int | None = None,
    may_put_off: bool = False,
    interactive: Collection[int] = (),
    interactive_go_on: bool = True,
    pilot: bool = False,
    gives_way: GivesWay = lambda: False,
    pace: Pace | None = None,
) -> Served:
    """Answer every request, prefetching the weights of `next_stage` meanwhile. A GolemError takes the place of each
    answer that it prevents. Any other exception ends the take; what was given out by then has been answered.

    `around` is entered around each `run`, `preparing` around each `prepare`, `within` where a run is left for a while
    because an answer of it is ready. `at_once`: the most requests that run at once; None: all of the take.
    `may_put_off`: later groups that would take long are not run, but left to the caller (`Served.put_off`), and so is
    what gives way (`Served.yielded`). `interactive`: places of the requests of that lane; `interactive_go_on`: whether
    any of them has a next stage. `pilot`: only the cheapest request runs, unless one is interactive. `pace`: the
    stage's measured throughput, which divides groups into steps; None: they run whole."""
    costs = _costs(residency.engines[stage], requests)
    full_cost = getattr(residency.engines[stage], "full_cost", inf)
    hooks = around, preparing, within, next_stage, give, alive, gives_way
    kind = StreamingTake if isinstance(residency.engines[stage], Streaming) else Take
    take = kind(residency, stage, requests, *hooks, costs, full_cost, pace or _Whole(), at_once or max(len(costs), 1))
    first, bulk = batches.in_lanes(costs, interactive, full_cost)
    if pilot and not first:
        take.served.yielded += [place for group in bulk for place in group][1:]
        bulk = [group[:1] for group in bulk[:1]]
    take.served.put_off += take.serve_groups(first, may_put_off=may_put_off)
    if first and may_put_off:
        estimates_s = [take.pace.estimate_s([costs[place] for place in group]) for group in bulk]
        count = 0 if take.served.put_off else batches.following(estimates_s, go_on=interactive_go_on)
        take.served.yielded += [place for later in bulk[count:] for place in later]
        bulk = bulk[:count]
    take.served.put_off += take.serve_groups(bulk, may_put_off=may_put_off)
    take.served.answers = [take.answers[place] for place in sorted(take.answers)]
    return take.served


def _costs(engine: object, requests: Sequence[object]) -> list[float]:
    if isinstance(engine, Estimating):
        return [engine.cost(request) for request in requests]
    return [1.0] * len(requests)


class _Whole(Pace):
    """No division into steps: a group that fits into the memory runs at once."""

    def step_size(self, costs: Sequence[float]) -> int:
        return max(len(costs), 1)
