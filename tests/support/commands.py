"""Compares the `golem` commands in a page with the existing ones."""

import re
from typing import Any


def shown(page):
    """Return the arguments of `golem` in the code of a Markdown page: ["run clip.wav --json", …]."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```$", page, re.M | re.S)
    lines = [line for text in blocks for line in text.splitlines()] + re.findall(r"`([^`\n]+)`", page)
    found = [words for line in lines for words in re.findall(r"(?<![\w/-])golem ([a-z]+(?: [^&|`#]*)?)", line)]
    return [words for words in found if words.split()[0] != "chain"]


def options():
    """Return {command: its options} of golem, including the programs behind golem worker and golem models."""
    import typer

    from golem_chain.broker.cli.main import app
    from golem_chain.workers.__main__ import app as workers

    known: dict[str, set[str]] = {}
    programs: list[Any] = [typer.main.get_command(app), typer.main.get_command(workers)]
    for program in programs:
        for name, command in program.commands.items():
            below = getattr(command, "commands", {})
            flags = {flag for one in (command, *below.values()) for param in one.params for flag in param.opts}
            known[name] = known.get(name, set()) | flags | set(below)
    return known


def check(used):
    """Fail unless every command and option that `shown` returned exists."""
    known = options()
    for words in used:
        command, *rest = words.split()
        assert command in known, words
        for flag in (word for word in rest if word.startswith("--")):
            assert flag in known[command], words
        if command == "models" and rest:
            assert rest[0] in known["models"], words
