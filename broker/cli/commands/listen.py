"""The command that listens to the microphone: options, where the jobs run, the warm-up, and the goodbye."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from golem_chain.broker.cli.arguments.options import Fillers, Json, Labels, Language, Stop, Vocabulary, job_options
from golem_chain.shared.errors import BadRequest, GolemError

if TYPE_CHECKING:
    from golem_chain.broker.cli.commands.listen_screen import JsonLines
    from golem_chain.broker.listening.microphone import Device
    from golem_chain.broker.listening.source import Source
    from golem_chain.broker.local.system import PrivateSystem
    from golem_chain.shared.records import JobOptions
    from golem_chain.shared.settings import Settings

#: A partial job that no worker has begun after this is worth nothing, seconds.
PARTIAL_S = 4.0
WARM_UP_S = 300.0  # for the first load of the largest models from a cold disk


class Where(NamedTuple):
    """Where the jobs run, and what raises if it has ended."""

    settings: "Settings"
    check: Callable[[], None]


def listen(
    labels: Labels = None,
    vocabulary: Vocabulary = None,
    fillers: Fillers = None,
    language: Language = None,
    stop: Stop = None,
    pause: Annotated[
        float,
        typer.Option("--pause", metavar="SECONDS", min=0.2, max=3.0, help="The silence that ends an utterance."),
    ] = 0.5,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="DEVICE", help="The microphone: a number or a part of its name.", show_default=False
        ),
    ] = None,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="List the microphones and exit.")] = False,
    replayed: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Replay a recording instead, at the speed of its speech; - reads raw samples (16 kHz, mono, 16-bit).",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show words, intent and reply while you speak.

    With GOLEM_REDIS_URL set, the running system does it, else a temporary one as with golem run.
    """
    if list_devices:
        _list_devices(as_json=as_json)
    if device is not None and replayed is not None:
        raise BadRequest("--device and --from exclude each other: leave one of them out.")
    from golem_chain.broker.submission import check_options

    final = job_options(labels, vocabulary, fillers, language, stop=stop).model_copy(update={"lane": "interactive"})
    check_options(final)
    open_source = _source(device, replayed)
    with _where(final) as where:
        raise typer.Exit(_listen(open_source(), final, pause, where, as_json=as_json))


def _listen(source: "Source", final: "JobOptions", pause_s: float, where: Where, *, as_json: bool) -> int:
    """Listen to an open source and return the exit code."""
    from golem_chain.broker.cli.console import say
    from golem_chain.broker.listening.endpoint import Bounds
    from golem_chain.broker.listening.listener import Listener
    from golem_chain.broker.listening.sender import Sender, System
    from golem_chain.broker.listening.session import Session
    from golem_chain.broker.listening.voice import detector
    from golem_chain.shared.records import JobOptions

    partial = JobOptions(language=final.language, stop="scribe", lane="interactive", expires_s=PARTIAL_S)
    # with a vocabulary the answer is one of its phrases: half a phrase would show something else
    listener = Listener(Bounds(pause_s=pause_s), partials=final.vocabulary is None)
    voice, screen = detector(), _screen(as_json=as_json)
    sender = Sender(System(where.settings, final, partial))
    session = Session(source, voice, listener, sender, screen, where.check)
    try:
        with screen:
            screen.begin(source.name)
            session.run()
    except KeyboardInterrupt:
        left = session.unanswered
        cancelled = f" {left} without an answer {'was' if left == 1 else 'were'} cancelled." if left else ""
        say(f"Stopped listening; goodbye.{cancelled}")
        return 130
    finally:
        source.close()
        sender.close()
    return 1 if screen.failed else 0


def _screen(*, as_json: bool) -> "JsonLines":
    from golem_chain.broker.cli.commands.listen_screen import JsonLines, Lines, View

    if as_json:
        return JsonLines()
    return View() if sys.stderr.isatty() else Lines()


# -- what is heard


def _source(device: str | None, replayed: str | None) -> "Callable[[], Source]":
    """Return what opens the source, once it is known that this is possible.

    Raises MissingExtra, NoMicrophone, BadRequest, BadAudio.
    """
    from golem_chain.broker.listening import microphone, replay, voice

    voice.detector()
    if replayed == "-":
        return lambda: replay.Piped(sys.stdin.buffer)
    if replayed is not None:
        pcm = replay.decoded(replayed)
        return lambda: replay.Replay(pcm, replayed)
    wanted = microphone.chosen(microphone.devices(), device)
    microphone.Microphone(wanted).close()  # a device that is in use is told of before the models are loaded
    return lambda: microphone.Microphone(wanted)


def _list_devices(*, as_json: bool) -> NoReturn:
    from golem_chain.broker.cli.console import line
    from golem_chain.broker.listening.microphone import chosen, devices
    from golem_chain.shared.text import visible

    found = devices()
    chosen(found, None)  # says so if there is none
    for one in found:
        if as_json:
            line(asdict(one))
        else:
            typer.echo(_described(one, visible(one.name)))
    raise typer.Exit


def _described(one: "Device", name: str) -> str:
    mark = "*" if one.default else " "
    return f"{mark} {one.index:>2}  {name}  ({one.channels} channels, {one.rate_hz} Hz)"


# -- where it runs


@contextmanager
def _where(final: "JobOptions") -> Iterator[Where]:
    """Use the running system if there is a setting for it, else one of our own, with its models loaded."""
    from golem_chain.broker.cli.console import interrupted, say
    from golem_chain.broker.connection import check_broker
    from golem_chain.broker.local import system
    from golem_chain.shared.records import stages_between
    from golem_chain.shared.settings import Settings

    settings = Settings.read()
    if settings.names_a_server:
        check_broker(settings)
        yield Where(settings, lambda: None)
        return
    stages = stages_between("scribe", final.stop)
    # each word would wait for a switch of models: all stay that fit, unless the user has decided otherwise
    more = {} if "resident" in settings.model_fields_set else {"GOLEM_RESIDENT": "auto"}
    with interrupted("Interrupted: the temporary server and worker have stopped."):
        system.pull_missing(stages)
        with system.private_system([], stages, more) as own:
            say("Loading the models.")
            _warm_up(own, final)
            yield Where(own.settings, own.check)


def _warm_up(own: "PrivateSystem", final: "JobOptions") -> None:
    """Run each stage once. Raises GolemError if one fails, as it would for every utterance."""
    import time

    from golem_chain.broker.listening.sound import wav
    from golem_chain.broker.listening.voice import vowels
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.records import JobOptions, OracleParams

    chosen = final.vocabulary is not None and final.vocabulary.from_labels
    hears = final.model_copy(update={"stop": "scribe", "labels": final.labels if chosen else None})
    with Pipeline(own.settings) as pipeline:
        jobs = [pipeline.submit_with(wav(vowels()), hears, name="warm-up")]
        if final.stop != "scribe":
            oracle = OracleParams(max_new_tokens=1) if final.stop is None or final.stop == "oracle" else OracleParams()
            reads = JobOptions(labels=final.labels, language=final.language, stop=final.stop, oracle=oracle)
            jobs.append(pipeline.submit_with(None, reads, text="Hello.", name="warm-up"))
        end = time.monotonic() + WARM_UP_S
        for outcome in pipeline.watch(jobs, tick_s=0.5):
            own.check()
            if outcome and outcome.state != "done":
                raise GolemError(outcome.error.message if outcome.error else f"The warm-up was {outcome.state}.")
            if time.monotonic() > end:
                raise GolemError(f"The models were not loaded within {WARM_UP_S:g} s: see GOLEM_DEBUG=1.")
