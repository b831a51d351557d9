"""Tables of results, rendered for the terminal and as Markdown for the docs."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table as RichTable

from golem_chain.shared.json_object import JsonObject

#: Reports the progress of a measurement.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Table:
    """Title, column heads, rows of cells."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def rich(self) -> RichTable:
        """Return the table for the terminal."""
        shown = RichTable(*self.columns, title=self.title, title_justify="left")
        for row in self.rows:
            shown.add_row(*map(str, row))
        return shown

    def markdown(self) -> str:
        """Return the table as Markdown."""
        head = f"**{self.title}**\n\n| {' | '.join(self.columns)} |\n|{'---|' * len(self.columns)}\n"
        return head + "\n".join(f"| {' | '.join(map(str, row))} |" for row in self.rows) + "\n"


class Target(NamedTuple):
    """A figure that was to be reached."""

    what: str
    aim: str  # as shown: `≤ 10`
    measured: str
    met: bool


def target_table(targets: Iterable[Target]) -> Table:
    """Return the table of targets met and missed."""
    rows = [(one.what, one.aim, one.measured, "met" if one.met else "missed") for one in targets]
    return Table("Targets", ("what", "target", "measured", ""), [*rows])


def _of_switch(results: JsonObject) -> Iterator[Table]:
    for name, found in results.items():
        if name == "hardware":
            continue
        yield Table(
            f"Load and unload, ms ({name})",
            ("model", "dtype", "MB", "floor", "load", "load ÷ floor", "cold load", "unload", "from_pretrained",
             "del+gc"),
            [
                (m["model"], m["dtype"], m["megabytes"], m["floor_ms"], m["warm_ms"], m["of_floor"], m["cold_ms"],
                 m["unload_ms"], m["peer_load_ms"], m["peer_unload_ms"])
                for m in found["models"]
            ],
        )  # fmt: skip
        yield Table(
            f"A full switch, ms ({name})",
            ("from", "to", "Golem Chain", "peer", "speed-up"),
            [(p["out"], p["into"], p["ours_ms"], p["peer_ms"], p["faster"]) for p in found["pairs"]],
        )
        drift = found["drift"]
        yield Table(
            f"Memory over {drift['switches']} switches, MB ({name})",
            ("baseline", "at the end", "most left after an unload", "share of the model"),
            [(drift["base_mb"], drift["end_mb"], drift["worst_left_mb"], f"{100 * drift['worst_left_share']:.2f} %")],
        )
        if "memory" in found:
            yield Table(
                f"Memory of a running stage, MB above the baseline ({name})",
                ("stage", "model", "dtype", "input", "weights", "peak"),
                [
                    (n["stage"], n["model"], n["dtype"], n["asked"], n["weights_mb"], n["peak_mb"])
                    for n in found["memory"]
                ],
            )


def switch_tables(results: JsonObject) -> list[RichTable]:
    """Return the tables of `golem bench switch` for the terminal."""
    return [table.rich() for table in _of_switch(results)]


def switch_markdown(results: JsonObject) -> str:
    """Return the hardware and the tables of `golem bench switch` as Markdown."""
    return f"Measured on: {results['hardware']}.\n\n" + "\n".join(table.markdown() for table in _of_switch(results))


def into_docs(file: Path, name: str, text: str) -> None:
    """Replace the text between `<!-- name -->` and `<!-- /name -->`, or append it with these markers."""
    block = f"<!-- {name} -->\n{text}\n<!-- /{name} -->"
    old = file.read_text() if file.is_file() else ""
    pattern = re.compile(rf"<!-- {name} -->.*?<!-- /{name} -->", re.S)
    new = pattern.sub(lambda _: block, old) if pattern.search(old) else f"{old.rstrip()}\n\n{block}\n"
    file.write_text(new)
