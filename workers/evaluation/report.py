"""What an evaluation found: tables, pictures and figures, for the terminal, for Markdown and for programs."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from golem_chain.shared.errors import BadRequest, MissingExtra
from golem_chain.shared.text import visible


@dataclass(frozen=True)
class Table:
    """Title, column heads, rows of cells."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]

    def markdown(self) -> str:
        """For the docs."""
        head = f"**{self.title}**\n\n| {' | '.join(self.columns)} |\n|{'---|' * len(self.columns)}\n"
        return head + "".join(
            f"| {' | '.join(cell(entry).replace('|', '/') for entry in row)} |\n" for row in self.rows
        )


@dataclass(frozen=True)
class Report:
    """One evaluation. `draw` maps file names to what writes them; each raises MissingExtra without matplotlib."""

    name: str
    figures: dict[str, Any]
    tables: tuple[Table, ...]
    draw: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    run_on: dict[str, str] = field(default_factory=dict)  # models, versions, hardware

    def markdown(self) -> str:
        """All tables, then the pictures, then what it was measured with."""
        pictures = "".join(f"![{Path(name).stem.replace('-', ' ')}]({name})\n\n" for name in self.draw)
        return "\n".join(table.markdown() for table in self.tables) + f"\n{pictures}{self.measured_with()}\n"

    def measured_with(self) -> str:
        """One sentence of models, versions and hardware."""
        return "Measured with " + "; ".join(self.run_on.values()) + "." if self.run_on else ""

    def record(self) -> dict[str, Any]:
        """The figures and what they were measured with, as plain JSON."""
        return {"evaluation": self.name, **self.figures, "run_on": self.run_on}


def cell(value: object) -> str:
    """A cell: shares with three places, seconds and others with two, nothing as a dash."""
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def show(report: Report, *, as_json: bool) -> None:
    """One JSON line, or the tables, on stdout."""
    if as_json:
        sys.stdout.write(json.dumps(report.record(), separators=(",", ":")) + "\n")
        return
    from rich import table
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else 120)
    for shown in report.tables:
        drawn = table.Table(*shown.columns, title=shown.title, title_justify="left")
        for row in shown.rows:
            drawn.add_row(*(visible(cell(entry)) for entry in row))
        console.print(drawn)
    console.print(report.measured_with())


def write(report: Report, folder: Path) -> list[Path]:
    """JSON, Markdown and pictures into a folder, which is made. Raises BadRequest where it cannot be written."""
    written = [folder / f"{report.name}.json", folder / f"{report.name}.md"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written[0].write_text(json.dumps(report.record(), indent=1) + "\n", encoding="utf-8")
        written[1].write_text(report.markdown(), encoding="utf-8")
        for name, draw in report.draw.items():
            try:
                draw(folder / name)
            except MissingExtra as exc:
                say(exc.message)
                break
            written.append(folder / name)
    except OSError as exc:
        raise BadRequest(f"Cannot write {folder}: {exc.strerror or exc}.") from None
    return written


def say(sentence: str) -> None:
    """One sentence on stderr."""
    sys.stderr.write(f"golem: {visible(sentence)}\n")
