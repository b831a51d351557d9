"""The options that commands share, and what they amount to."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from golem_chain.shared.errors import BadRequest

if TYPE_CHECKING:
    from golem_chain.broker.cli.export import Files
    from golem_chain.broker.cli.follow import Ask

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
Vocabulary = Annotated[
    str | None,
    typer.Option(
        "--vocabulary",
        metavar="PHRASES",
        help="The phrases that may be said: yes,no  or  @file, one a line  or  from-labels",
    ),
]
Fillers = Annotated[
    str | None,
    typer.Option("--fillers", metavar="PHRASES", help="What may be said too and means unknown, with --vocabulary."),
]
Language = Annotated[
    str | None, typer.Option("--language", metavar="CODE", help="What is spoken, as in ru (default: detected).")
]
Task = Annotated[
    Literal["transcribe", "translate"],
    typer.Option("--task", help="translate: the words in English, whatever is spoken (multilingual models)."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=2**63 - 1, help="Makes replies repeatable.")]
Tokens = Annotated[int | None, typer.Option("--max-new-tokens", min=1, max=1024, help="Longest reply, tokens.")]
Temperature = Annotated[
    float | None, typer.Option("--temperature", min=0.0, max=5.0, help="Of the reply; 0 takes the likeliest words.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per job and line on stdout.")]
WordTimes = Annotated[bool, typer.Option("--word-times", help="Tell when each word was said.")]
Format = Annotated[
    Literal["txt", "json", "srt", "vtt", "tsv"] | None,
    typer.Option("--format", help="Write a file for each job, beside its audio or to --out; replaces what is there."),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Where the files of --format go; made if missing.")
]
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
    vocabulary: str | None,
    fillers: str | None,
    language: str | None,
    task: Task,
    seed: int | None,
    max_new_tokens: int | None,
    temperature: float | None,
    word_times: bool,
) -> "Ask":
    """The options that run and submit share. Raises BadLabels, BadVocabulary."""
    from golem_chain.broker.cli.follow import Ask
    from golem_chain.shared.labels import parse_labels
    from golem_chain.shared.records import OracleParams
    from golem_chain.shared.vocabulary import parse_vocabulary

    return Ask(
        labels=None if labels is None else parse_labels(labels),
        vocabulary=parse_vocabulary(vocabulary, fillers),
        language=language.strip().lower() if language else None,
        task=task,
        word_times=word_times,
        oracle=OracleParams(seed=seed, max_new_tokens=max_new_tokens, temperature=temperature),
    )


def files(names: Sequence[str], form: Format, out: Path | None) -> "Files | None":
    """Where the results go beside the screen, None where no format was asked for. Raises BadRequest."""
    if form is None:
        if out is not None:
            raise BadRequest("--out says where the files of --format go: say which, as in --format srt.")
        return None
    from golem_chain.broker.cli.export import Files

    return Files(names, form, out)
