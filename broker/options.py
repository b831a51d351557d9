"""The options that commands share, and what they amount to."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import BadRequest

if TYPE_CHECKING:
    from broker.follow import Ask

Audio = Annotated[
    list[str],
    typer.Argument(
        metavar="AUDIO", help="Files, folders, patterns; - reads a list of paths from stdin.", show_default=False
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", metavar="SET", help='lights_on="turning on the lights",music_stop  or  @keywords  or  @file.toml'
    ),
]
Language = Annotated[
    str | None, typer.Option("--language", metavar="CODE", help="What is spoken, as in ru (default: detected).")
]
Translate = Annotated[bool, typer.Option("--translate", help="Write the words in English (multilingual models).")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=2**63 - 1, help="Makes replies repeatable.")]
Tokens = Annotated[int | None, typer.Option("--max-new-tokens", min=1, max=1024, help="Longest reply, tokens.")]
Temperature = Annotated[
    float | None, typer.Option("--temperature", min=0.0, max=5.0, help="Of the reply; 0 takes the likeliest words.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per job and line on stdout.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the jobs have ended.")]
JobIds = Annotated[
    list[str],
    typer.Argument(metavar="JOB", help="Ids as submit printed them; - reads them from stdin.", show_default=False),
]


def ids(typed: list[str]) -> list[str]:
    """Job ids, each once; `-` stands for those on standard input. Raises BadRequest."""
    found = [one for word in typed for one in (sys.stdin.read().split() if word == "-" else [word])]
    if not found:
        raise BadRequest("The list of jobs on standard input is empty.")
    return list(dict.fromkeys(found))


def ask(
    labels: str | None,
    language: str | None,
    translate: bool,
    seed: int | None,
    max_new_tokens: int | None,
    temperature: float | None,
) -> "Ask":
    """The options that run and submit share. Raises BadLabels."""
    from broker.follow import Ask
    from shared.labels import parse_labels
    from shared.records import OracleParams

    return Ask(
        labels=None if labels is None else parse_labels(labels),
        language=language.strip().lower() if language else None,
        task="translate" if translate else "transcribe",
        oracle=OracleParams(seed=seed, max_new_tokens=max_new_tokens, temperature=temperature),
    )
