"""The report of an evaluation: figures, tables and plots, as terminal output, Markdown and JSON."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from golem_chain.shared.errors import BadRequest, MissingExtra
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.text import visible


@dataclass(frozen=True)
class Table:
    """Title, column heads, rows of cells."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]

    def markdown(self) -> str:
        """Return the table as Markdown."""
        head = f"**{self.title}**\n\n| {' | '.join(self.columns)} |\n|{'---|' * len(self.columns)}\n"
        return head + "".join(
            f"| {' | '.join(cell(entry).replace('|', '/') for entry in row)} |\n" for row in self.rows
        )


@dataclass(frozen=True)
class Report:
    """One evaluation. `draw` maps file names to functions that write them; they raise MissingExtra without
    matplotlib."""

    name: str
    figures: JsonObject
    tables: tuple[Table, ...]
    draw: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    run_on: dict[str, str] = field(default_factory=dict)  # models, versions, hardware

    def markdown(self) -> str:
        """Return tables, links to the plots, and the models, versions and hardware as Markdown."""
        pictures = "".join(f"![{Path(name).stem.replace('-', ' ')}]({name})\n\n" for name in self.draw)
        return "\n".join(table.markdown() for table in self.tables) + f"\n{pictures}{self.measured_with()}\n"

    def measured_with(self) -> str:
        """Return one sentence with models, versions and hardware."""
        return "Measured with " + "; ".join(self.run_on.values()) + "." if self.run_on else ""

    def record(self) -> JsonObject:
        """Return the figures and what they were measured with, in JSON types."""
        return {"evaluation": self.name, **self.figures, "run_on": self.run_on}


def cell(value: object) -> str:
    """Format a cell: floats with three decimals, None as a dash."""
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def show(report: Report, *, as_json: bool) -> None:
    """Print one JSON line or the tables to stdout."""
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
    """Write JSON, Markdown and plots into a folder, created if missing. Raises BadRequest if it cannot be written."""
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
    """Print one sentence to stderr."""
    sys.stderr.write(f"golem: {visible(sentence)}\n")
