"""Writes what was fitted for a label set into the set's own file: `[set.cosine]` or `[set.entailment]`."""

import json
import os
import re
import tomllib
from pathlib import Path

from golem_chain.shared.errors import BadLabels
from golem_chain.shared.records import Calibration, LabelSet


def store(path: Path, name: str, method: str, fitted: Calibration) -> None:
    """Put the table of a set and method into a label file, in the place of an earlier one or at the end. All else stays
    as it stands. Raises BadLabels where the file cannot be written, or holds the table in another form."""
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
    """A label file of its own for labels that came without one. Raises BadLabels where it cannot be written."""
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
    """The TOML text with the table. Pure. Raises ValueError where the result would not say what was meant."""
    top = "labels" in tomllib.loads(text)  # a file that is one set
    head = f"[{method}]" if top else f"[{_key(name)}.{method}]"
    lines = [f"{key} = {value}" for key, value in fitted.model_dump(exclude_none=True).items()]
    block = "\n".join([f"{head}  # fitted by golem eval intents --fit", *lines]) + "\n"
    # From the head of the table to that of the next one, or the end.
    old = re.compile(rf"^[ \t]*{re.escape(head)}[^\n]*\n(?:(?![ \t]*\[)[^\n]*\n?)*", re.M)
    new = (
        old.sub(lambda _: block + "\n", text).rstrip("\n") + "\n" if old.search(text) else f"{text.rstrip()}\n\n{block}"
    )
    table = tomllib.loads(new)
    if (table if top else table[name])[method] != fitted.model_dump(exclude_none=True):
        raise ValueError(head)
    return new


def _key(name: str) -> str:
    """A TOML key: bare where it may be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    """In one step: a reader sees the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
