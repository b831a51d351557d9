"""The options about how jobs are treated, not what is asked of them: group, deadline, lane and webhook."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from golem_chain.broker.cli.arguments.options import with_options
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.text import NAME

GroupName = Annotated[
    str | None,
    typer.Option("--group", metavar="NAME", help="Count these jobs together: golem results --group NAME."),
]
Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="TIME", help="End jobs that have not ended after this time: 30s, 5m, 2h."),
]
LaneName = Annotated[
    Literal["interactive", "bulk"] | None,
    typer.Option("--lane", help="interactive goes before bulk; a single ask or reply is interactive, else bulk."),
]
Webhook = Annotated[
    str | None,
    typer.Option("--webhook", metavar="URL", help="Tell this URL how each job ended; needs golem deliver."),
]

MakeTreatment = Callable[[], JsonObject]


def treatment(
    group: GroupName = None, expires: Expires = None, lane: LaneName = None, webhook: Webhook = None
) -> JsonObject:
    """Return the fields of JobOptions that were given. Raises BadRequest."""
    from golem_chain.shared.durations import parse_duration

    given = {
        "group": None if group is None else checked_group(group),
        "expires_s": None if expires is None else parse_duration(expires, "--expires"),
        "lane": lane,
        "webhook": webhook,
    }
    return {field: value for field, value in given.items() if value is not None}


def checked_group(name: str) -> str:
    """Return the name of a group. Raises BadRequest if it cannot be one."""
    if not re.fullmatch(NAME, name):
        raise BadRequest(f"--group {name[:80]!a} is no name of a group: use up to 64 letters, digits, dots, - and _.")
    return name


def takes_treatment(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `treated` by the parameters of `treatment`; it receives a function as with
    `takes_job_options`."""
    made: Callable[..., Any] = treatment
    return with_options(command, "treated", made)
