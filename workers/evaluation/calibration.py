"""Writes a fitted calibration into the label file, as `[set.cosine]` or `[set.entailment]`."""

import json
import os
import re
import tomllib
from pathlib import Path

from golem_chain.shared.errors import BadLabels
from golem_chain.shared.records import Calibration, LabelSet


def store(path: Path, name: str, method: str, fitted: Calibration) -> None:
    """Write the table of a set and method into a label file, replacing an earlier one or at the end; the rest is not
    changed. Raises BadLabels if the file cannot be written or has the table in another form."""
    try:
        old = path.read_text(encoding="utf-8")
        _write(path, put(old, name, method, fitted))
    except OSError as exc:
        raise BadLabels(f"The label file {path} cannot be written: {exc.strerror}.") from None
    except ValueError:
        raise BadLabels(
            f"{path}: {method} of the set {name} stands in a form that cannot be replaced: delete it and fit again."
        ) from None


def create(path: Path, name: str, labels: LabelSet, method: str, fitted: Calibration) -> None:
    """Create a label file for labels that have none. Raises BadLabels if it cannot be written."""
    lines = [f"[{_key(name)}.labels]"]
    lines += [
        f"{_key(label.name)} = {json.dumps(list(label.phrasings), ensure_ascii=False)}" for label in labels.labels
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, put("\n".join(lines) + "\n", name, method, fitted))
    except OSError as exc:
        raise BadLabels(f"The label file {path} cannot be written: {exc.strerror}.") from None


def put(text: str, name: str, method: str, fitted: Calibration) -> str:
    """Return the TOML text with the table. Pure. Raises ValueError if the result does not parse to this table."""
    top = "labels" in tomllib.loads(text)  # the whole file is one set
    head = f"[{method}]" if top else f"[{_key(name)}.{method}]"
    lines = [f"{key} = {value}" for key, value in fitted.model_dump(exclude_none=True).items()]
    block = "\n".join([f"{head}  # fitted by golem eval intents --fit", *lines]) + "\n"
    # From the table's header to the next header or the end.
    old = re.compile(rf"^[ \t]*{re.escape(head)}[^\n]*\n(?:(?![ \t]*\[)[^\n]*\n?)*", re.M)
    new = (
        old.sub(lambda _: block + "\n", text).rstrip("\n") + "\n" if old.search(text) else f"{text.rstrip()}\n\n{block}"
    )
    table = tomllib.loads(new)
    if (table if top else table[name])[method] != fitted.model_dump(exclude_none=True):
        raise ValueError(head)
    return new


def _key(name: str) -> str:
    """Return a TOML key, bare if possible."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    """Replace the file atomically."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
