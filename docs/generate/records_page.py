"""Writes docs/records.md from shared/records.py, so that the tables cannot differ from the code.

usage: make docs
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "shared" / "records.py"
TARGET = Path(__file__).parents[1] / "records.md"
HEAD = """# Records

What `--json` prints, what the Python API returns, and what travels between the boxes: JSON objects with these fields.
An [Outcome](#outcome) is the result of a job, a [Job](#job) what was asked for. Fields that a program does not know are
ignored, so that boxes can be upgraded one by one. None means JSON's null. `make docs` generates this page from
`shared/records.py`.
"""
#: The records that a user meets; what they hold comes right after them.
FIRST = ("Outcome", "Job")
JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "None": "null"}
BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "pattern": "`{}`",
          "min_length": "length ≥ {}", "max_length": "length ≤ {}"}  # fmt: skip

LINES = SOURCE.read_text(encoding="utf-8").splitlines()
BODY = ast.parse("\n".join(LINES)).body
CLASSES = {node.name: node for node in BODY if isinstance(node, ast.ClassDef)}
ALIASES = {ast.unparse(node.targets[0]): node.value for node in BODY if isinstance(node, ast.Assign)}


def fields(record: str) -> Iterator[ast.AnnAssign]:
    """The fields of a record, its own first."""
    yield from (node for node in CLASSES[record].body if isinstance(node, ast.AnnAssign))
    for base in CLASSES[record].bases:
        if ast.unparse(base) in CLASSES:
            yield from fields(ast.unparse(base))


def order() -> list[str]:
    """The records, each before those that only it holds."""
    bases = {ast.unparse(base) for node in CLASSES.values() for base in node.bases}
    found: list[str] = []

    def visit(name: str) -> None:
        if name in CLASSES and name not in found and name not in bases and CLASSES[name].bases:
            if ast.unparse(CLASSES[name].bases[0]) not in CLASSES:
                return  # no record
            found.append(name)
            for field in fields(name):
                for word in re.findall(r"\w+", ast.unparse(field.annotation)):
                    visit(word)

    for name in (*FIRST, *CLASSES):
        visit(name)
    return found


def shown(annotation: ast.expr) -> str:
    """A type as JSON has it, with its bounds."""
    match annotation:
        case ast.BinOp(left=left, right=right):
            return f"{shown(left)} or {shown(right)}"
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *rest])):
            return shown(inner) + bounds(rest[0])
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=values)):
            return ", ".join(f"`{ast.literal_eval(value)}`" for value in values)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[inner, *_])):
            return f"list of {shown(inner)}"
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, inner])):
            return f"object of {shown(inner)}"
    name = ast.unparse(annotation)
    if name in ALIASES:
        return shown(ALIASES[name])
    return f"[{name}](#{name.lower()})" if name in CLASSES else JSON_TYPES[name]


def bounds(field: ast.expr | None) -> str:
    """What a `Field(…)` asks of a value, in brackets."""
    keywords = field.keywords if isinstance(field, ast.Call) else []
    limits = {one.arg: ast.unparse(ALIASES.get(ast.unparse(one.value), one.value)) for one in keywords if one.arg}
    asked = [BOUNDS[what].format(limit.replace(" ** ", "^").strip("r'")) for what, limit in limits.items()]
    return f" ({', '.join(asked)})" if asked else ""


def row(field: ast.AnnAssign) -> str:
    """Name, type, default and meaning, which is the comment at the end of the field's line."""
    required = field.value is None or (isinstance(field.value, ast.Call) and ast.unparse(field.value.func) == "Field")
    kind = shown(field.annotation) + (bounds(field.value) if required else "")
    default = "required" if required else "–" if isinstance(field.value, ast.Call) else f"`{json(field.value)}`"
    comment = LINES[(field.end_lineno or field.lineno) - 1][field.end_col_offset or 0 :].strip().removeprefix("# ")
    cells = (f"`{ast.unparse(field.target)}`", kind, default, comment)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def json(value: ast.expr | None) -> str:
    """A default as JSON has it."""
    text = ast.unparse(value) if value else ""
    return {"None": "null", "False": "false", "True": "true", "()": "[]", "''": '""'}.get(text, text.replace("'", '"'))


def page() -> str:
    """The whole text of docs/records.md."""
    parts = [HEAD]
    for name in order():
        about = ast.get_docstring(CLASSES[name]) or ""
        rows = "\n".join(row(field) for field in fields(name))
        parts.append(f"## {name}\n\n{about}\n\n| field | type | default | meaning |\n|---|---|---|---|\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
