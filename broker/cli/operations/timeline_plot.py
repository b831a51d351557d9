"""Plots a timeline with matplotlib: memory over time, stages as coloured spans, model switches as marks."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from golem_chain.broker.cli.console import line, say
from golem_chain.broker.connection import connect, reaching
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring.timeline import Lane, lanes, parse_last, read, window
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import BadRequest, MissingExtra
from golem_chain.shared.settings import Settings

#: Okabe and Ito's colours, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def colour(stage: str) -> str:
    """Return the colour of a stage."""
    return COLOURS[STAGES.index(stage) % len(COLOURS)] if stage in STAGES else "#999999"


def command(settings: Settings, jobs: Sequence[str], last: str | None, out: str, *, as_json: bool) -> None:
    """Run `golem timeline` for jobs or for the last seconds. Raises BadRequest, BrokerAway, MissingExtra."""
    if bool(jobs) == bool(last):
        raise BadRequest("Give either jobs or --last, for example golem timeline --last 10m.")
    now = time.time()
    with reaching(settings), connect(settings) as client:
        events = read(client, now - parse_last(last) if last else 0, Keys(settings.prefix))
    start, end = (now - parse_last(last), now) if last else window(events, jobs)
    found = lanes(events, start, end)
    if not found:
        raise BadRequest(f"There are no events in the last {last}: is a worker running?")
    if last:
        start = max(start, min(at for lane in found for at, _ in lane.memory))
    draw(found, start, end, Path(out))
    loads = sum(mark.kind == "load" for lane in found for mark in lane.marks)
    summary = {"picture": out, "boxes": len(found), "batches": sum(len(lane.spans) for lane in found), "loads": loads}
    if as_json:
        line(summary)
    else:
        boxes = "1 box" if len(found) == 1 else f"{len(found)} boxes"
        say(f"Wrote {out}: {summary['batches']} batches and {loads} loads on {boxes}.")


def draw(boxes: Sequence[Lane], start: float, end: float, out: Path) -> None:
    """Write the plot; the suffix of `out` selects the format. Raises MissingExtra, BadRequest."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtra("The timeline needs matplotlib: pip install 'golem-chain[monitor]'.") from None
    figure, axes = pyplot.subplots(
        len(boxes), 1, figsize=(11, 1.2 + 2.6 * len(boxes)), sharex=True, squeeze=False, layout="constrained"
    )
    for lane, axis in zip(boxes, axes[:, 0], strict=True):
        _lane(axis, lane, start)
    axes[-1, 0].set_xlabel("seconds")
    axes[-1, 0].set_xlim(0, max(end - start, 0.01))
    handles, names = axes[0, 0].get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside upper center", ncols=6, frameon=False)
    try:
        figure.savefig(out, dpi=130)
    except (OSError, ValueError) as exc:
        raise BadRequest(f"Cannot write {out}: {exc}.") from None
    finally:
        pyplot.close(figure)


def _lane(axis: Any, lane: Lane, start: float) -> None:
    megabyte = 1e6
    for span in lane.spans:
        axis.axvspan(span.start - start, span.end - start, color=colour(span.stage), alpha=0.28, lw=0, label=span.stage)
    times = [at - start for at, _ in lane.memory]
    axis.plot(times, [count / megabyte for _, count in lane.memory], color="black", lw=1.2, label="memory")
    for began, ended, peak in lane.peaks:
        axis.plot([began - start, ended - start], [peak / megabyte] * 2, color="black", lw=1.0, ls=":", label="peak")
    top = max([count for _, count in lane.memory] + [peak for *_, peak in lane.peaks], default=1) / megabyte * 1.18
    for mark in lane.marks:
        if mark.kind == "load":
            axis.axvline(mark.at - start, color=colour(mark.stage), lw=1.4, ls="--", label="load")
        elif mark.kind == "oom":
            axis.plot([mark.at - start], [top * 0.94], "rv", ms=8, label="out of memory")
    if 0 < lane.budget / megabyte <= 2 * top:
        axis.axhline(lane.budget / megabyte, color="#D55E00", lw=1.0, label="budget")
        top = max(top, lane.budget / megabyte * 1.08)
    axis.set_ylim(0, top)
    axis.set_ylabel("MB")
    axis.set_title(lane.box, loc="left", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
