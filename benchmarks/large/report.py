"""The tables of `golem bench large`."""

from collections.abc import Iterator

from golem_chain.benchmarks.large.fits import ROOMS, cell, outcome, together
from golem_chain.benchmarks.large.measure import STAGES, Findings, Turns, Use, alone
from golem_chain.benchmarks.large.shapes import SETS, TOKENS
from golem_chain.benchmarks.report import Table
from golem_chain.shared.sizes import format_bytes


def tables(found: Findings) -> Iterator[Table]:
    """Yield all tables."""
    yield _fits(found)
    yield _stays(found)
    if found.turns:
        yield _alone(found)
        yield _together(found)
    if refusals := [(use.refused,) for turns in found.turns for use in turns.uses if use.refused]:
        yield Table("What a refused job says", ("error",), [*dict.fromkeys(refusals)])


def _fits(found: Findings) -> Table:
    """Each row by the budget's own functions, whether or not it was loaded."""
    order = [*dict.fromkeys(need.model for need in found.needs)]
    rows = [
        (
            need.stage,
            need.model,
            need.precision,
            format_bytes(need.weights_bytes),
            format_bytes(need.working_bytes[1]),
            *(cell(need, room) for room in ROOMS.values()),
        )
        for need in sorted(found.needs, key=lambda need: (STAGES.index(need.stage), order.index(need.model)))
    ]
    heads = ("stage", "model", "precision", "weights", "working memory, batch of 1", *ROOMS)
    return Table("What fits where: the largest batch", heads, rows)


def _stays(found: Findings) -> Table:
    """Each row by the budget's own functions, whether or not it was loaded."""
    rows = []
    for name, chain in SETS.items():
        for precision in dict.fromkeys(need.precision for need in found.needs):
            needs = {need.model: need for need in found.needs if need.precision == precision}
            if all(shape.name in needs for shape in chain):
                wanted = [needs[shape.name] for shape in chain]
                weights = format_bytes(sum(need.weights_bytes for need in wanted))
                rows.append((name, precision, weights, *(together(wanted, room) for room in ROOMS.values())))
    heads = ("chain", "precision", "weights of all three", *ROOMS)
    return Table("What stays together with GOLEM_RESIDENT=auto, batches of 1", heads, rows)


def _alone(found: Findings) -> Table:
    planned = {(need.model, need.precision): need.least_bytes for need in found.needs}
    rows = [
        (
            use.model,
            use.precision,
            f"{use.load_s:.2f}",
            _what(use),
            f"{use.run_s:.2f}",
            format_bytes(planned[use.model, use.precision]),
            format_bytes(use.peak_bytes),
        )
        for use in alone(found)
    ]
    heads = ("model", "precision", "load s", "what ran", "run s", "planned", "peak")
    return Table("Loaded and run on this machine, one model at a time", heads, rows)


def _what(use: Use) -> str:
    """What one use computes."""
    if use.new_tokens is not None:
        return f"a reply, {use.new_tokens} tokens"
    return f"a window of 30 s, {TOKENS} tokens" if use.stage == "scribe" else "a text, 10 labels"


def _together(found: Findings) -> Table:
    rows = [
        (
            turns.chain,
            turns.precision,
            format_bytes(turns.budget_bytes),
            _kept(turns),
            turns.loads,
            turns.switches,
            f"{sum(use.load_s for use in turns.uses):.2f}",
            format_bytes(max((use.peak_bytes for use in turns.uses), default=0)),
        )
        for turns in found.turns
        if turns.mode != "1"
    ]
    heads = ("chain", "precision", "budget", "what happens", "loads", "unloads", "load s in all", "peak")
    return Table("Scribe, Interpreter, Oracle, Scribe again with GOLEM_RESIDENT=auto", heads, rows)


def _kept(turns: Turns) -> str:
    """What became of the three models."""
    refused = sorted({use.stage for use in turns.uses if use.refused})
    return outcome(refused, len(turns.resident), len(STAGES))


def told(found: Findings) -> str:
    """The text before the tables."""
    notes = "".join(f" {note[0].upper()}{note[1:]}." for note in found.notes)
    return f"Measured on: {found.hardware}.{notes}\n\n"
