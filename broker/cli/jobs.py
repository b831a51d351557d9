"""The commands that hand in jobs: run, submit, transcribe, ask, reply. `main.py` registers them."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, NoReturn

import typer

from golem_chain.broker.cli.console import interrupted
from golem_chain.broker.cli.options import (
    Audio,
    Fillers,
    Format,
    Id,
    IdFrom,
    Json,
    Labels,
    Language,
    Out,
    Seed,
    Task,
    Temperature,
    TextLanguage,
    Texts,
    Tokens,
    Vocabulary,
    Wait,
    Webhook,
    WordTimes,
    check_id,
    export_files,
    job_options,
    takes_job_options,
)
from golem_chain.shared.errors import BadRequest, GolemError

if TYPE_CHECKING:
    from golem_chain.broker.cli.export import Files
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.records import JobOptions, Outcome

MakeOptions = Callable[[], "JobOptions"]


class Order(NamedTuple):
    """The jobs of one command."""

    names: Sequence[str]  # one for each job
    hand_in: "Callable[[Pipeline], Iterator[tuple[str, Outcome | None]]]"  # submits and yields as `follow.hand_in`
    stages: Sequence[str]  # that may run for them
    files: Sequence[str] = ()  # the audio that a worker of our own may read
    kept: "Files | None" = None
    as_json: bool = False


class Ids(NamedTuple):
    """How the ids of jobs are chosen; without either, they are random."""

    id: str | None = None
    id_from: Literal["content"] | None = None


@takes_job_options
def run(audio: Audio, options: MakeOptions, form: Format = None, out: Out = None, as_json: Json = False) -> None:
    """Process files with a temporary server and worker."""
    started = time.monotonic()
    _alone(_of_files(audio, options, form, out, Ids(), as_json=as_json), started)


@takes_job_options
def submit(
    audio: Audio,
    options: MakeOptions,
    form: Format = None,
    out: Out = None,
    id: Id = None,
    id_from: IdFrom = None,
    wait: Wait = False,
    webhook: Webhook = None,
    as_json: Json = False,
) -> None:
    """Submit files to the running system and print the job ids."""
    started = time.monotonic()
    if form and not wait:
        raise BadRequest("--format writes the results: add --wait, or use golem results JOB… --format later.")
    options, ids = _telling(options, webhook), Ids(id, id_from)
    _together(_of_files(audio, options, form, out, ids, as_json=as_json), started, wait=wait)


def transcribe(
    audio: Audio,
    vocabulary: Vocabulary = None,
    fillers: Fillers = None,
    language: Language = None,
    task: Task = "transcribe",
    word_times: WordTimes = False,
    form: Format = None,
    out: Out = None,
    webhook: Webhook = None,
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
            vocabulary=vocabulary, fillers=fillers, language=language, task=task, word_times=word_times, stop="scribe"
        )

    told = _telling(options, webhook)
    _wherever(_of_files(audio, told, form, out, Ids(id, id_from), as_json=as_json), started)


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
    as_json: Json = False,
) -> None:
    """Find the intents of texts; the Scribe does not run.

    With GOLEM_REDIS_URL set, the running system does it, else a temporary one as with golem run.
    """
    started = time.monotonic()
    options = job_options(
        labels, language=language, seed=seed, max_new_tokens=max_new_tokens, temperature=temperature, stop=stop
    )
    stages = ("interpreter",) if stop == "interpreter" else ("interpreter", "oracle")
    _wherever(_of_texts(texts, options, None, stages, as_json=as_json), started)


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
    as_json: Json = False,
) -> None:
    """Reply to texts whose intent is given; only the Oracle runs.

    With GOLEM_REDIS_URL set, the running system does it, else a temporary one as with golem run.
    """
    started = time.monotonic()
    options = job_options(labels, language=language, seed=seed, max_new_tokens=max_new_tokens, temperature=temperature)
    _wherever(_of_texts(texts, options, intent, ("oracle",), as_json=as_json), started)


# -- what is handed in


def _telling(options: MakeOptions, webhook: str | None) -> MakeOptions:
    """Return options with the webhook."""
    return lambda: options().model_copy(update={"webhook": webhook})


def _of_files(audio: list[str], options: MakeOptions, form: Format, out: Out, ids: Ids, *, as_json: bool) -> Order:
    """Return the jobs of audio arguments. Raises BadRequest, BadLabels, BadVocabulary before anything runs."""
    from golem_chain.broker.cli.audio_paths import expand

    files = expand(audio, sys.stdin.buffer)
    check_id(ids.id, ids.id_from, files)
    wanted = options()
    kept = export_files(files, form, out)
    from golem_chain.broker.cli import follow
    from golem_chain.broker.queues import STAGES

    stages = STAGES[: STAGES.index(wanted.stop or STAGES[-1]) + 1]
    return Order(files, lambda pipeline: follow.hand_in(pipeline, files, wanted, *ids), stages, files, kept, as_json)


def _of_texts(
    typed: list[str], options: "JobOptions", intent: str | None, stages: Sequence[str], *, as_json: bool
) -> Order:
    """Return the jobs of text arguments. Raises BadRequest before anything runs."""
    from golem_chain.broker.cli import follow
    from golem_chain.broker.cli.texts import expand

    texts = expand(typed, sys.stdin.buffer)
    names = [one.name for one in texts]
    return Order(names, lambda it: follow.hand_in_texts(it, texts, intent, options), stages, as_json=as_json)


# -- where it runs


def _wherever(order: Order, started: float) -> NoReturn:
    """Use the running system if there is a setting for it, else one of our own."""
    from golem_chain.shared.settings import Settings

    if "redis_url" in Settings.read().model_fields_set:
        _together(order, started, wait=True)
    _alone(order, started)


def _alone(order: Order, started: float) -> NoReturn:
    """Process the jobs with a system of our own and exit."""
    from golem_chain.broker.cli import follow
    from golem_chain.broker.local import system
    from golem_chain.broker.pipeline import Pipeline

    stages, kept, as_json = order.stages, order.kept, order.as_json
    with interrupted("Interrupted: the temporary server and worker have stopped."):
        system.pull_missing(stages)
        with system.private_system(order.files, stages) as own, Pipeline(own.settings) as pipeline:
            pairs = list(order.hand_in(pipeline))
            names = follow.named(pairs, order.names)
            outcomes = follow.gather(
                pipeline, dict(pairs), kept, as_json=as_json, check=own.check, stages=stages, names=names
            )
        raise typer.Exit(follow.report(outcomes, started, kept, as_json=as_json))


def _together(order: Order, started: float, *, wait: bool) -> NoReturn:
    """Submit the jobs to the running system, print their ids or wait for them, and exit."""
    from golem_chain.broker.cli import follow, tables
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.settings import Settings

    stages, kept, as_json = order.stages, order.kept, order.as_json
    handed: list[tuple[str, Outcome | None]] = []
    with (
        interrupted("Stopped waiting; submitted jobs continue: golem results JOB… --wait."),
        Pipeline(Settings.read()) as pipeline,
    ):
        try:
            for (job, failed), name in zip(order.hand_in(pipeline), order.names, strict=True):
                handed.append((job, failed))
                if not wait:
                    tables.submitted(job, name, failed, as_json=as_json)
            names = follow.named(handed, order.names)
            outcomes = (
                follow.gather(pipeline, dict(handed), kept, as_json=as_json, stages=stages, names=names) if wait else []
            )
        except (KeyboardInterrupt, GolemError):
            if wait:  # the ids are not printed yet, and the jobs continue
                for (job, failed), name in zip(handed, order.names, strict=False):
                    if failed is None:
                        tables.submitted(job, name, None, as_json=as_json)
            raise
        if not wait:
            raise typer.Exit(1 if any(failed for _, failed in handed) else 0)
        raise typer.Exit(follow.report(outcomes, started, kept, as_json=as_json))
