"""The commands `golem keys …`. What a key is, and the file, are in `broker.doors.access.keys`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from golem_chain.broker.cli.arguments.options import Json
from golem_chain.shared.errors import BadRequest

if TYPE_CHECKING:
    from golem_chain.broker.doors.access.keys import Key

app = typer.Typer(
    help="Manage API keys of golem serve: add, list, remove.", no_args_is_help=True, rich_markup_mode=None
)

File = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="The file of keys.  [default: that of GOLEM_API_KEYS=@FILE]"),
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, for logs and golem keys list.")],
    file: File = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="May also see metrics and dead letters, of all users.")
    ] = False,
    requests_per_min: Annotated[
        int | None, typer.Option("--requests-per-min", min=1, metavar="N", help="Requests a minute.")
    ] = None,
    upload: Annotated[
        str | None, typer.Option("--upload", metavar="SIZE", help="Size of one file, as in 25MiB.")
    ] = None,
    queued: Annotated[
        int | None, typer.Option("--queued", min=1, metavar="N", help="Jobs that have not ended.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once; the file gets its hash."""
    from pydantic import ValidationError

    from golem_chain.broker.cli.console import line, say
    from golem_chain.broker.doors.access import keys

    key = keys.make()
    limits = {"requests_per_min": requests_per_min, "upload": upload, "queued": queued}
    given = {"name": name, "sha256": keys.hash_of(key), "operator": operator, **limits}
    try:
        made = keys.Key.model_validate(given)
    except ValidationError as exc:
        first = exc.errors()[0]
        if first["loc"] == ("name",):
            raise BadRequest("A name has 1 to 64 letters, digits, `_`, `.` and `-`.") from None
        raise BadRequest(f"--{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}.") from None
    path = _file(file)
    if path is None and made != keys.Key(name=name, sha256=made.sha256):
        raise BadRequest("Limits and operators need a file: --file FILE, and GOLEM_API_KEYS=@FILE for the server.")
    if path is not None:
        keys.add(path, made)
    if as_json:
        line({"name": name, "key": key, "sha256": made.sha256, "file": str(path) if path else None})
        return
    print(key)
    if path is None:
        say(f"This key is shown once. For the server, add it to GOLEM_API_KEYS: {name}={made.sha256}")
    else:
        say(f"This key is shown once; {path} holds its hash. The server needs GOLEM_API_KEYS=@{path}.")


@app.command("list")
def list_(file: File = None, as_json: Json = False) -> None:
    """List the names and limits of keys."""
    from golem_chain.broker.cli.console import console, line, say

    found = _read(file)
    if as_json:
        for one in found:
            line(one.model_dump())
    elif found:
        from rich import box
        from rich.table import Table

        from golem_chain.shared.sizes import format_bytes

        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for column in ("name", "operator", "requests/min", "upload", "queued", "sha256"):
            grid.add_column(column, overflow="fold")
        for one in found:
            upload = format_bytes(one.upload) if one.upload else "–"
            limits = [str(one.requests_per_min or "–"), upload, str(one.queued or "–")]
            grid.add_row(one.name, "yes" if one.operator else "–", *limits, f"{one.sha256[:12]}…")
        console(stderr=False).print(grid)
    else:
        say("There are no keys.")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name as in golem keys list.")],
    file: File = None,
) -> None:
    """Remove a key: a running server refuses it within a second or two."""
    from golem_chain.broker.cli.console import say
    from golem_chain.broker.doors.access import keys

    path = _file(file)
    if path is None:
        raise BadRequest("Keys are removed from a file: give --file FILE, or take the entry out of GOLEM_API_KEYS.")
    keys.remove(path, name)
    say(f"The key {name} is removed from {path}. Requests in progress go on to their end.")


def _file(given: Path | None) -> Path | None:
    from golem_chain.broker.doors.access import keys
    from golem_chain.shared.settings import Settings

    return given or keys.file_of(Settings.read().api_keys)


def _read(given: Path | None) -> "tuple[Key, ...]":
    from golem_chain.broker.doors.access import keys
    from golem_chain.shared.settings import Settings

    path, setting = _file(given), Settings.read().api_keys
    if path is None and setting:
        return keys.of_setting(setting)
    if path is None:
        raise BadRequest("Name the file of keys: --file FILE, or GOLEM_API_KEYS=@FILE.")
    return keys.of_file(path)
