"""Prints the findings of `golem doctor`."""

from collections.abc import Sequence
from dataclasses import asdict

from golem_chain.broker.cli.console import console, line
from golem_chain.shared.finding import Finding
from golem_chain.shared.text import visible

_SHOWN = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "wrong": ("WRONG", "bold red"),
    "skipped": ("–", "dim"),
}


def report(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print the findings, one line each, and return the exit code: 1 if something is wrong."""
    if as_json:
        line({"checks": [asdict(one) for one in findings]})
    else:
        from rich.text import Text

        out = console(stderr=False)
        for one in findings:
            word, style = _SHOWN[one.state]
            told = f"{one.message}: {one.remedy}" if one.remedy else one.message
            out.print(Text(f"{word:<8}", style=style) + Text(visible(told), style=""), soft_wrap=True)
    return int(any(one.state == "wrong" for one in findings))
