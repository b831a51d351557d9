"""Plots a confusion matrix, a reliability diagram and curves over the noise, with matplotlib (extra `monitor`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from golem_chain.shared.errors import MissingExtra

DOTS = 130  # per inch
#: Told apart by the colour-blind. Source: Okabe and Ito, "Color Universal Design", 2008; after black.
COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7")


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


def noise(
    out: Path,
    snrs_db: Sequence[float],
    wer: Mapping[str, Sequence[float | None]],
    levels: Mapping[str, float | None],
    shares: Mapping[str, Sequence[float | None]],
) -> None:
    """Plot against the SNR: word error rates in percent, one curve per name, with those of conditions without an SNR
    (`levels`) as lines across; and beside it other shares in percent. None is left out."""
    pyplot = _pyplot()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.9), layout="constrained")
    for axis, curves in ((left, wer), (right, shares)):
        for colour, (name, values) in zip(COLOURS, curves.items(), strict=False):
            points = [(snr, value) for snr, value in zip(snrs_db, values, strict=True) if value is not None]
            if points:
                width = 2.2 if name == "all" else 1.2
                axis.plot(*zip(*points, strict=True), "o-", color=colour, lw=width, ms=4, label=name)
        axis.set(xlabel="signal-to-noise ratio, dB", ylim=(0, None))
        axis.set_xticks(sorted(snrs_db))
        axis.invert_xaxis()  # from little noise to much
        axis.spines[["top", "right"]].set_visible(False)
    for style, (name, value) in zip(("--", ":", "-."), levels.items(), strict=False):
        if value is not None:
            left.axhline(value, color="#555555", lw=1, ls=style, label=name)
    left.set_ylabel("word error rate, %")
    right.set_ylabel("clips, %")
    for axis in (left, right):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, loc="upper left", fontsize=8)
        low, high = axis.get_ylim()
        axis.set_ylim(low, max(high, 1.0) * 1.05)
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
