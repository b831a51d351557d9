"""Plots a confusion matrix and a reliability diagram, with matplotlib (extra `monitor`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from golem_chain.shared.errors import MissingExtra

DOTS = 130  # per inch


def confusion(out: Path, classes: Sequence[str], counts: Sequence[Sequence[int]], title: str) -> None:
    """Plot counts with true classes in rows and predicted classes in columns, shaded by the share of the row."""
    pyplot = _pyplot()
    figure, axis = pyplot.subplots(figsize=(1.3 + 0.47 * len(classes), 1.4 + 0.46 * len(classes)), layout="constrained")
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for line, row in enumerate(counts):
        for column, count in enumerate(row):
            if count:
                colour = "white" if shares[line][column] > 0.6 else "black"
                axis.text(column, line, str(count), ha="center", va="center", color=colour, fontsize=9)
    names = [name.strip("_") if name.startswith("_") else name for name in classes]
    axis.set_xticks(range(len(classes)), names, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(classes)), names)
    axis.set_xlabel("answered")
    axis.set_ylabel("said")
    axis.set_title(title, loc="left", fontsize=10)
    _save(pyplot, figure, out)


def reliability(out: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[bool]]], title: str) -> None:
    """Plot accuracy against score in ten bins, one curve per name; the dot size grows with the number of answers."""
    pyplot = _pyplot()
    figure, axis = pyplot.subplots(figsize=(5, 4.4), layout="constrained")
    axis.plot([0, 1], [0, 1], color="#999999", lw=1, ls="--")
    for colour, (name, (chances, right)) in zip(("#E69F00", "#0072B2", "#009E73"), curves.items(), strict=False):
        bins = [[place for place, chance in enumerate(chances) if min(int(chance * 10), 9) == n] for n in range(10)]
        points = [
            (
                sum(chances[place] for place in inside) / len(inside),
                sum(right[place] for place in inside) / len(inside),
                len(inside),
            )
            for inside in bins
            if len(inside) >= 3  # fewer are not meaningful
        ]
        axis.plot([point[0] for point in points], [point[1] for point in points], "-", color=colour, label=name)
        axis.scatter(
            *zip(*[point[:2] for point in points], strict=True),
            s=[8 * point[2] ** 0.7 for point in points],
            color=colour,
        )
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score of the answer", ylabel="share that is right")
    axis.legend(frameon=False, loc="upper left")
    axis.set_title(title, loc="left", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    _save(pyplot, figure, out)


def _pyplot() -> Any:
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtra(
            "The pictures are drawn by matplotlib: install it with pip install 'golem-chain[monitor]'."
        ) from None
    return pyplot


def _save(pyplot: Any, figure: Any, out: Path) -> None:
    try:
        figure.savefig(out, dpi=DOTS)
    finally:
        pyplot.close(figure)
