"""Reader for label sets in TOML: `[set.labels]` with phrasings, a prompt, a template, example turns for chat models,
wordings in other languages, and `include`."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from golem_chain.shared.errors import BadLabels
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Calibration, Label, LabelSet, Turn, Wording

LONGEST_FILE = 1 << 20  # bytes

_WORDING_KEYS = {"labels", "template", "prompt", "turns"}
_SET_KEYS = _WORDING_KEYS | {"include", "languages", "multi_label", "cosine", "entailment"}


def read_sets(path: Path) -> dict[str, LabelSet]:
    """Return the sets in a file by name; `labels.check_labels` validates their contents.

    Each table is a set. A file with `labels` at the top level is a single set named `default`. `include` names sets
    in the same file whose labels, with their wordings, come first. Raises BadLabels if the file cannot be read or does
    not have this structure.
    """
    tables = _tables(path)
    return {name: _set(path, name, tables, ()) for name in tables}


def _tables(path: Path) -> JsonObject:
    try:
        if not path.is_file():
            raise BadLabels(f"The label file {path} does not exist or is not a file.")
        if path.stat().st_size > LONGEST_FILE:
            raise BadLabels(f"The label file {path} is larger than {LONGEST_FILE >> 20} MiB.")
        found = tomllib.loads(path.read_bytes().decode())
    except (OSError, ValueError, RecursionError) as exc:  # ValueError: TOML, UTF-8, and NUL in a path
        why = str(exc).splitlines()[0][:200] if not isinstance(exc, RecursionError) else "nested too deeply"
        raise BadLabels(f"The label file {path} cannot be read: {why}.") from None
    if "labels" in found:
        found = {"default": found}
    for name, table in found.items():
        if not isinstance(table, dict):
            raise BadLabels(f"{path}: {name} must be a table with labels, such as [{name}.labels].")
        if unknown := sorted(set(table) - _SET_KEYS):
            raise BadLabels(f"{path}: the set {name} has the unknown key {unknown[0]}.")
    return found


def _set(path: Path, name: str, tables: JsonObject, above: tuple[str, ...]) -> LabelSet:
    """One set, with its includes resolved; `above` holds the sets that include it, outermost first."""
    if name not in tables or name in above or len(above) > 8:
        raise BadLabels(
            f"{path}: the set {(above or (name,))[-1]} includes {name}, which is missing, nested too deeply or part "
            "of a cycle."
        )
    table = tables[name]
    labels: list[Label] = []
    wordings: list[Wording] = []
    for other in _strings(path, name, "include", table.get("include", [])):
        included = _set(path, other, tables, (*above, name))
        labels += included.labels
        wordings += included.wordings
        if len(labels) > 10_000:  # sets that include the same sets again and again grow exponentially
            raise BadLabels(f"{path}: the set {name} has too many labels.")
    labels += _labels(path, name, table)
    multi = table.get("multi_label", False)
    if not isinstance(multi, bool):
        raise BadLabels(f"{path}: multi_label of the set {name} must be true or false.")
    return LabelSet.model_construct(
        labels=tuple(labels),
        template=_text(path, name, "template", table),
        prompt=_text(path, name, "prompt", table),
        multi_label=multi,
        turns=_turns(path, name, table),
        wordings=_wordings(path, name, table, wordings),
        cosine=_calibration(path, f"{name}.cosine", table.get("cosine", {})),
        entailment=_calibration(path, f"{name}.entailment", table.get("entailment", {})),
    )


def _calibration(path: Path, where: str, table: Any) -> Calibration:
    """Parse `[set.cosine]` or `[set.entailment]`, as written by `golem eval intents --fit`."""
    try:
        if set(table) <= set(Calibration.model_fields):
            return Calibration.model_validate(table, strict=True)
    except (TypeError, ValidationError):
        pass
    raise BadLabels(f"{path}: [{where}] may only hold the numbers `temperature` (above 0) and `unknown` (a threshold).")


def _wordings(path: Path, name: str, table: JsonObject, included: list[Wording]) -> tuple[Wording, ...]:
    """Parse `[set.languages.ru]`; only labels are inherited from the wordings of included sets."""
    own = table.get("languages", {})
    if not isinstance(own, dict) or not all(isinstance(said, dict) for said in own.values()):
        raise BadLabels(f"{path}: languages of the set {name} must be tables, such as [{name}.languages.ru].")
    labels: dict[str, dict[str, Label]] = {}
    for wording in included:
        labels.setdefault(wording.language, {}).update({label.name: label for label in wording.labels})
    found = []
    for language in dict.fromkeys((*labels, *own)):
        where, said = f"{name}.languages.{language}", own.get(language, {})
        if unknown := sorted(set(said) - _WORDING_KEYS):
            raise BadLabels(f"{path}: [{where}] has the unknown key {unknown[0]}.")
        mine = {label.name: label for label in _labels(path, where, said)}
        found.append(
            Wording.model_construct(
                language=language,
                labels=tuple((labels.get(language, {}) | mine).values()),
                template=_text(path, where, "template", said),
                prompt=_text(path, where, "prompt", said),
                turns=_turns(path, where, said),
            )
        )
    return tuple(found)


def _turns(path: Path, where: str, table: JsonObject) -> tuple[Turn, ...]:
    """Parse `turns = [["a prompt", "its reply"], …]`."""
    given = table.get("turns", [])
    pairs = given if isinstance(given, list) else [given]
    if not all(isinstance(pair, list) and [type(part) for part in pair] == [str, str] for pair in pairs):
        raise BadLabels(f"{path}: turns of {where} must be a list of pairs: [prompt, reply].")
    return tuple(Turn.model_construct(prompt=prompt, reply=reply) for prompt, reply in pairs)


def _labels(path: Path, where: str, table: JsonObject) -> list[Label]:
    own = table.get("labels", {})
    if not isinstance(own, dict):
        raise BadLabels(f"{path}: labels of {where} must be a table.")
    return [_label(path, f"{where}.{key}", key, value) for key, value in own.items()]


def _label(path: Path, where: str, name: str, value: Any) -> Label:
    """Parse `name = [phrasings]`, `name = "phrasing"` or `name = { phrasings = [...], prompt = "..." }`."""
    if isinstance(value, (str, list)):
        value = {"phrasings": value}
    if not isinstance(value, dict) or set(value) - {"phrasings", "prompt"}:
        raise BadLabels(f"{path}: the label {where} must be a list of phrasings or a table with phrasings and prompt.")
    given = value.get("phrasings", [])
    phrasings = _strings(path, where, "phrasings", [given] if isinstance(given, str) else given)
    return Label.model_construct(name=name, phrasings=tuple(phrasings), prompt=_text(path, where, "prompt", value))


def _strings(path: Path, where: str, key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise BadLabels(f"{path}: {key} of {where} must be a list of strings.")
    return value


def _text(path: Path, where: str, key: str, table: JsonObject) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise BadLabels(f"{path}: {key} of {where} must be a string.")
    return value
