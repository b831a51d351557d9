"""The options that commands share, and their conversion."""

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.text import NAME, visible

if TYPE_CHECKING:
    from golem_chain.broker.cli.export import Files
    from golem_chain.shared.records import JobOptions

Audio = Annotated[
    list[str],
    typer.Argument(
        metavar="AUDIO", help="Files, folders or patterns; - reads a list of paths from stdin.", show_default=False
    ),
]
Texts = Annotated[
    list[str],
    typer.Argument(
        metavar="TEXT",
        help="What was said; @file and - read one text per line, of a file or stdin.",
        show_default=False,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="SET",
        help='Intents: lights_on="turning on the lights",music_stop or @keywords or @file.toml',
    ),
]
Vocabulary = Annotated[
    str | None,
    typer.Option(
        "--vocabulary",
        metavar="PHRASES",
        help="Expected phrases: yes,no or @file (one per line) or from-labels.",
    ),
]
Fillers = Annotated[
    str | None,
    typer.Option(
        "--fillers", metavar="PHRASES", help="Other expected phrases, which count as unknown; needs --vocabulary."
    ),
]
Language = Annotated[
    str | None, typer.Option("--language", metavar="CODE", help="The spoken language, such as ru (default: detected).")
]
TextLanguage = Annotated[
    str | None,
    typer.Option("--language", metavar="CODE", help="The language of the text, if the label set is worded in several."),
]
Task = Annotated[
    Literal["transcribe", "translate"],
    typer.Option("--task", help="translate writes the transcript in English (multilingual models)."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", min=0, max=2**63 - 1, help="Makes replies reproducible.")
]
Tokens = Annotated[
    int | None,
    typer.Option("--max-new-tokens", metavar="N", min=1, max=1024, help="Maximum length of the reply in tokens."),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature", metavar="N", min=0.0, max=5.0, help="Sampling temperature of the reply; 0 is greedy."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line on stdout.")]
WordTimes = Annotated[bool, typer.Option("--word-times", help="Add the time of each word.")]
Stop = Annotated[
    Literal["scribe", "interpreter", "oracle"] | None,
    typer.Option("--stop", help="The last stage that runs (default: oracle); scribe gives transcripts alone."),
]
Prompt = Annotated[
    str | None,
    typer.Option("--prompt", metavar="TEXT", help="Text before the recording, whose spelling the transcript follows."),
]
ScribeTemperature = Annotated[
    float | None,
    typer.Option("--scribe-temperature", metavar="N", min=0.0, max=1.0, help="Sampling temperature of the transcript."),
]
Hotwords = Annotated[
    str | None,
    typer.Option(
        "--hotwords",
        metavar="NAMES",
        help="Names that may be said, as they are to be spelled: Ecobee,Kitchener or @file (one per line).",
    ),
]
Format = Annotated[
    Literal["txt", "json", "srt", "vtt", "tsv"] | None,
    typer.Option(
        "--format", "-f", help="Write a file per job, next to its audio or to --out; overwrites existing files."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the files of --format; created if missing."),
]
Id = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", help="The id of the job of a single file: the same command again runs it once."),
]
IdFrom = Annotated[
    Literal["content"] | None,
    typer.Option(
        "--id-from", help="content: the same audio with the same options is not run again while its Outcome is kept."
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the jobs have ended.")]
JobIds = Annotated[
    list[str],
    typer.Argument(metavar="JOB", help="Job ids as printed by submit; - reads them from stdin.", show_default=False),
]


def check_id(id: str | None, id_from: str | None, files: Sequence[str]) -> None:
    """Raise BadRequest unless `--id` names a single job, in the characters of an id."""
    if id is None:
        return
    if id_from is not None:
        raise BadRequest("--id and --id-from both choose the id: leave one of them out.")
    if len(files) > 1:
        raise BadRequest(
            f"--id names one job, and there are {len(files)} files: submit them one by one, or use --id-from content."
        )
    if not re.fullmatch(NAME, id):
        raise BadRequest(f"--id {visible(id, 80)!r}: use 1 to 64 letters, digits, `_`, `.` and `-`.")


def job_ids(typed: list[str]) -> list[str]:
    """Return the job ids, each once; `-` reads ids from standard input. Raises BadRequest."""
    found = [one for word in typed for one in (sys.stdin.read().split() if word == "-" else [word])]
    if not found:
        raise BadRequest("The list of job ids on standard input is empty.")
    return list(dict.fromkeys(found))


def job_options(
    labels: Labels = None,
    vocabulary: Vocabulary = None,
    fillers: Fillers = None,
    language: Language = None,
    task: Task = "transcribe",
    seed: Seed = None,
    max_new_tokens: Tokens = None,
    temperature: Temperature = None,
    word_times: WordTimes = False,
    stop: Stop = None,
    prompt: Prompt = None,
    scribe_temperature: ScribeTemperature = None,
    hotwords: Hotwords = None,
) -> "JobOptions":
    """Return the options as one record. Raises BadLabels, BadVocabulary, BadRequest."""
    from golem_chain.shared.labels import parse_labels
    from golem_chain.shared.records import PROMPT_MOST, JobOptions, OracleParams
    from golem_chain.shared.text import storable
    from golem_chain.shared.vocabulary import parse_hotwords, parse_vocabulary

    for option, given in (("--prompt", prompt), ("--language", language)):
        if given is not None and storable(given) != given:
            raise BadRequest(f"The text of {option} is not valid UTF-8: type it in a terminal that uses UTF-8.")
    if prompt is not None and len(prompt) > PROMPT_MOST:
        raise BadRequest(f"The prompt has {len(prompt):,} characters, the limit is {PROMPT_MOST:,}: give its end.")
    return JobOptions(
        labels=None if labels is None else parse_labels(labels),
        vocabulary=parse_vocabulary(vocabulary, fillers),
        language=language.strip().lower() if language else None,
        task=task,
        word_times=word_times,
        stop=stop,
        initial_prompt=prompt,
        scribe_temperature=scribe_temperature,
        hotwords=parse_hotwords(hotwords),
        oracle=OracleParams(seed=seed, max_new_tokens=max_new_tokens, temperature=temperature),
    )


def takes_job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `options` by the parameters of `job_options`.

    The command receives a function that creates the record, so that files are checked before a label set is read.
    """
    return with_options(command, "options", job_options)


def with_options(command: Callable[..., None], name: str, make: Callable[..., Any]) -> Callable[..., None]:
    """Replace a command's parameter by the parameters of `make`. The command receives a function without parameters."""
    own, asked = signature(command), signature(make)

    @wraps(command)
    def called(**given: Any) -> None:
        typed = {one: given.pop(one) for one in asked.parameters}
        command(**given, **{name: partial(make, **typed)})

    parameters: list[Parameter] = []
    for parameter in own.parameters.values():
        parameters += asked.parameters.values() if parameter.name == name else [parameter]
    parameters = [
        one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters
    ]  # in any order, with and without default
    called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # what typer reads
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called


def export_files(names: Sequence[str], form: Format, out: Path | None) -> "Files | None":
    """Return the files for the results, None if no format was requested. Raises BadRequest."""
    if form is None:
        if out is not None:
            raise BadRequest("--out needs a --format, for example --format srt.")
        return None
    from golem_chain.broker.cli.export import Files

    return Files(names, form, out)
