"""The plot of `golem bench chain`: seconds per clip of each setup, stacked by stage, loads and overhead."""

from collections.abc import Mapping
from pathlib import Path

from golem_chain.benchmarks.chain.backlogs import Set
from golem_chain.broker.cli.operations.timeline_plot import colour
from golem_chain.broker.queues import STAGES

_PEERS = {"reload": "pipelines, loaded and unloaded\nfor each file and stage", "resident": "pipelines, all resident"}
_SHADES = {"loads": "#D55E00", "overhead": "#444444"}
#: Runs that are drawn, and how they are called there.
_DRAWN = {
    "float32": "Golem Chain, float32",
    "default": "Golem Chain, default",
    "fast": "Golem Chain, bfloat16",
}

Bar = tuple[str, dict[str, float]]


def bars(one: Set) -> list[Bar]:
    """Return (name, seconds per clip by part) of each setup of a set of models."""
    found: list[Bar] = []
    for way, told in _PEERS.items():
        if way in one.peers:
            peer = one.peers[way]
            jobs = len(peer["jobs_s"])
            parts = {stage: peer["stages_s"][stage] / jobs for stage in STAGES}
            found.append((told, parts | {"loads": (peer["load_s"] + peer["unload_s"]) / jobs}))
    for setting, told in _DRAWN.items():
        for jobs, run in one.runs.get(setting, {}).items():
            parts = {stage: run.stages_s.get(stage, 0.0) / jobs for stage in STAGES}
            parts |= {"loads": run.load_s / jobs, "overhead": run.overhead_s}
            found.append((f"{told}, {jobs} jobs", parts))
    return found


def plot(sets: Mapping[str, Set], file: Path) -> bool:
    """Draw a panel for each set of models; return whether there was anything to draw."""
    panels = {name: found for name, one in sets.items() if (found := bars(one))}
    if not panels:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    heights = [len(found) for found in panels.values()]
    figure, axes = pyplot.subplots(
        len(panels),
        figsize=(10, 0.9 + 0.55 * sum(heights)),
        height_ratios=heights,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    longest = max(sum(parts.values()) for found in panels.values() for _, parts in found)
    for axis, (name, found) in zip(axes[:, 0], panels.items(), strict=True):
        left = [0.0] * len(found)
        for part in (*STAGES, "loads", "overhead"):
            widths = [max(0.0, parts.get(part, 0.0)) for _, parts in found]
            shade = colour(part) if part in STAGES else _SHADES[part]
            axis.barh([told for told, _ in found], widths, left=left, label=part, color=shade)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        slowest = max(left)
        for place, total in enumerate(left):
            times = f"   {slowest / total:.1f} × as fast" if total < slowest else ""
            axis.text(total, place, f" {total:.2f} s{times}", va="center")
        axis.invert_yaxis()
        axis.set_xlim(0, longest * 1.12)
        axis.set_title(f"{name[0].upper()}{name[1:]}", loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("seconds per clip through three stages")
    axes[0, 0].legend(loc="lower right", frameon=False)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
    return True
