"""Writes docs/settings.md from shared/settings.py, so that the table cannot differ from the code.

usage: make docs
"""

import re
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from golem_chain.shared.settings import Settings

TARGET = Path(__file__).parents[1] / "settings.md"
HEAD = """# Settings

Each setting is an environment variable or a line of `.env` in the folder where the program starts; environment
variables take precedence. An invalid value stops the program with an error that names the setting. Sizes may have units
(`500MB`, `4GiB`); times are in seconds. `make docs` generates this page from `shared/settings.py`.

| variable | default | meaning |
|---|---|---|
"""
#: Those that depend on the home of who asks.
PLACES = {"store": "`~/.local/share/golem-chain/models`", "serve_data": "`~/.local/share/golem-chain/serve`"}


def shown(key: str, default: Any) -> str:
    """The default as one would type it."""
    if key in PLACES:
        return PLACES[key]
    if default is None or default is PydanticUndefined or default == ():
        return "–"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    if isinstance(default, dict):
        return ", ".join(f"`{value}`" if name == "*" else f"`{name}={value}`" for name, value in default.items())
    if isinstance(default, int) and not isinstance(default, bool) and default >= 1 << 20:
        return f"`{default >> 30}GiB`" if default % (1 << 30) == 0 else f"`{default >> 20}MiB`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def page() -> str:
    """The whole text of docs/settings.md."""
    rows = []
    for key, field in Settings.model_fields.items():
        meaning = re.sub(r"\s+", " ", field.description or "").replace("|", "\\|")
        rows.append(f"| `GOLEM_{key.upper()}` | {shown(key, field.default)} | {meaning} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
