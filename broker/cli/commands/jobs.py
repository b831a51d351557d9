"""The commands that hand in jobs: run, submit, transcribe, ask, reply. `main.py` registers them."""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, NoReturn

import typer

from golem_chain.broker.cli.arguments.options import (
    Audio,
    Fillers,
    Format,
    Hotwords,
    Id,
    IdFrom,
    Json,
    Labels,
    Language,
    Out,
    Prompt,
    ScribeTemperature,
    Seed,
    Task,
    Temperature,
    TextLanguage,
    Texts,
    Tokens,
    Vocabulary,
    Wait,
    WordTimes,
    check_id,
    export_files,
    job_options,
    takes_job_options,
)
from golem_chain.broker.cli.arguments.treatment import Expires, MakeTreatment, takes_treatment, treatment
from golem_chain.shared.errors import BadRequest

if TYPE_CHECKING:
    from golem_chain.broker.cli.commands.orders import Order
    from golem_chain.shared.records import JobOptions

MakeOptions = Callable[[], "JobOptions"]


class Ids(NamedTuple):
    """How the ids of jobs are chosen; without either, they are random."""

    id: str | None = None
    id_from: Literal["content"] | None = None


@takes_job_options
def run(
    audio: Audio,
    options: MakeOptions,
    expires: Expires = None,
    form: Format = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Process files with a temporary server and worker."""
    started = time.monotonic()
    treated = partial(treatment, expires=expires)
    order = _of_files(audio, options, treated, form, out, Ids(), as_json=as_json, one_is_interactive=True)
    from golem_chain.broker.cli.commands import orders

    orders.alone(order, started)


@takes_treatment
@takes_job_options
def submit(
    audio: Audio,
    options: MakeOptions,
    treated: MakeTreatment,
    form: Format = None,
    out: Out = None,
    id: Id = None,
    id_from: IdFrom = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Submit files to the running system and print the job ids."""
    started = time.monotonic()
    if form and not wait:
        raise BadRequest("--format writes the results: add --wait, or use golem results JOB… --format later.")
    order = _of_files(audio, options, treated, form, out, Ids(id, id_from), as_json=as_json)
    from golem_chain.broker.cli.commands import orders

    orders.together(order, started, wait=wait)


@takes_treatment
def transcribe(
    audio: Audio,
    vocabulary: Vocabulary = None,
    fillers: Fillers = None,
    language: Language = None,
    task: Task = "transcribe",
    word_times: WordTimes = False,
    prompt: Prompt = None,
    scribe_temperature: ScribeTemperature = None,
    hotwords: Hotwords = None,
    *,
    treated: MakeTreatment,
    form: Format = None,
    out: Out = None,
    id: Id = None,
    id_from: IdFrom = None,
    as_json: Json = False,
) -> None:
    """Write what is said in files; only the Scribe runs.

    With GOLEM_REDIS_URL set, the running system does it, else a temporary one as with golem run.
    """
    started = time.monotonic()

    def options() -> "JobOptions":
        return job_options(
            vocabulary=vocabulary,
            fillers=fillers,
            language=language,
            task=task,
            word_times=word_times,
            prompt=prompt,
            scribe_temperature=scribe_temperature,
            hotwords=hotwords,
            stop="scribe",
        )

    _wherever(_of_files(audio, options, treated, form, out, Ids(id, id_from), as_json=as_json), started)


@takes_treatment
def ask(
    texts: Texts,
    labels: Labels = None,
    language: TextLanguage = None,
    stop: Annotated[
        Literal["interpreter", "oracle"], typer.Option("--stop", help="The last stage; oracle adds the reply.")
    ] = "interpreter",
    seed: Seed = None,
    max_new_tokens: Tokens = None,
    temperature: Temperature = None,
    *,
    treated: MakeTreatment,
    as_json: Json = False,
) -> None:
    """Find the intents of texts; the Scribe does not run.

    With GOLEM_REDIS_URL set, the running system does it, else a temporary one as with golem run.
    """
    started = time.monotonic()
    options = job_options(
        labels, language=language, seed=seed, max_new_tokens=max_new_tokens, temperature=temperature, stop=stop
    )
    from golem_chain.shared.records import stages_between

    stages = stages_between("interpreter", stop)
    _wherever(_of_texts(texts, options, treated, None, stages, as_json=as_json), started)


@takes_treatment
def reply(
    texts: Texts,
    intent: Annotated[
        str, typer.Option("--intent", metavar="LABEL", help="The intent of the texts.", show_default=False)
    ],
    labels: Labels = None,
    language: TextLanguage = None,
    seed: Seed = None,
    max_new_tokens: Tokens = None,
    temperature: Temperature = None,
    *,
    treated: MakeTreatment,
    as_json: Json = False,
) -> None:
    """Reply to texts whose intent is given; only the Oracle runs.

    With GOLEM_REDIS_URL set, the running system does it, else a temporary one as with golem run.
    """
    started = time.monotonic()
    options = job_options(labels, language=language, seed=seed, max_new_tokens=max_new_tokens, temperature=temperature)
    _wherever(_of_texts(texts, options, treated, intent, ("oracle",), as_json=as_json), started)


# -- what is handed in


def _of_files(
    audio: list[str],
    options: MakeOptions,
    treated: MakeTreatment,
    form: Format,
    out: Out,
    ids: Ids,
    *,
    as_json: bool,
    one_is_interactive: bool = False,
) -> "Order":
    """Return the jobs of audio arguments. Raises BadRequest, BadLabels, BadVocabulary before anything runs."""
    from golem_chain.broker.cli.arguments.audio_paths import expand

    files = expand(audio, sys.stdin.buffer)
    check_id(ids.id, ids.id_from, files)
    wanted = _treated(options(), treated, interactive=one_is_interactive and len(files) == 1)
    kept = export_files(files, form, out)
    from golem_chain.broker.cli.commands import orders
    from golem_chain.shared.records import stages_between

    stages = stages_between("scribe", wanted.stop)
    return orders.of_files(files, wanted, stages)._replace(
        id=ids.id, id_from_content=ids.id_from == "content", kept=kept, as_json=as_json
    )


def _of_texts(
    typed: list[str],
    options: "JobOptions",
    treated: MakeTreatment,
    intent: str | None,
    stages: Sequence[str],
    *,
    as_json: bool,
) -> "Order":
    """Return the jobs of text arguments. Raises BadRequest before anything runs."""
    from golem_chain.broker.cli.arguments.texts import expand
    from golem_chain.broker.cli.commands import orders

    texts = expand(typed, sys.stdin.buffer)
    wanted = _treated(options, treated, interactive=len(texts) == 1)
    return orders.of_texts(texts, intent, wanted, stages)._replace(as_json=as_json)


def _treated(options: "JobOptions", treated: MakeTreatment, *, interactive: bool) -> "JobOptions":
    """Return the options with the treatment that was asked for. `interactive`: the lane if none was named."""
    return options.model_copy(update={"lane": "interactive" if interactive else "bulk"} | treated())


def _wherever(order: "Order", started: float) -> NoReturn:
    from golem_chain.broker.cli.commands import orders

    orders.wherever(order, started)
