"""The commands of `golem`: argument handling only. Each command imports what it needs when it runs."""

import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from golem_chain.broker.cli.arguments.options import Json
from golem_chain.broker.cli.commands import jobs, listen, serve, submitted, watch
from golem_chain.broker.cli.console import interrupted
from golem_chain.broker.cli.operations import dead_letters, keys
from golem_chain.shared.errors import BadLabels, BadRequest, BadSetting, GolemError

app = typer.Typer(
    name="golem",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # rich help takes 0.1 s more to show
    pretty_exceptions_enable=False,
)

app.add_typer(dead_letters.app, name="dead")
app.add_typer(keys.app, name="keys")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"golem {version('golem-chain')}")
        raise typer.Exit


@app.callback()
def golem(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn speech into a transcript, an intent and a reply."""


for command in (jobs.run, jobs.submit, jobs.transcribe, jobs.ask, jobs.reply, listen.listen, watch.watch, serve.serve):
    app.command()(command)
app.command()(submitted.results)
app.command("jobs")(submitted.jobs_)
app.command("next")(submitted.next_)
app.command()(submitted.cancel)


@app.command()
def status(group: submitted.OfGroup = None, as_json: Json = False) -> None:
    """Show queues, workers and dead letters, or a group."""
    if group is not None:
        submitted.status_of_group(group, as_json=as_json)
        return
    from golem_chain.broker.cli import tables
    from golem_chain.broker.cli.console import console, line
    from golem_chain.broker.monitoring import status
    from golem_chain.shared.settings import Settings

    seen = status.read(Settings.read())
    if as_json:
        line(seen)
    else:
        console(stderr=False).print(*tables.of_system(seen))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check the running system and this machine."""
    from golem_chain.broker.cli.operations.doctor import report
    from golem_chain.broker.monitoring.doctor import examine
    from golem_chain.shared.settings import Settings

    with interrupted("Interrupted; nothing was changed."):
        raise typer.Exit(report(examine(Settings.read()), as_json=as_json))


@app.command()
def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be moved, and move nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Move the jobs of an older release to this one."""
    from golem_chain.broker.cli.operations.upgrade import report
    from golem_chain.broker.upgrade import upgrade
    from golem_chain.shared.settings import Settings

    with interrupted("Interrupted; run golem upgrade again."):
        report(upgrade(Settings.read(), dry_run=dry_run), dry_run=dry_run, as_json=as_json)


@app.command()
def timeline(
    jobs: Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Jobs to plot.", show_default=False)] = None,
    last: Annotated[
        str | None, typer.Option("--last", metavar="TIME", help="Plot this period instead of jobs: 90s, 10m, 2h.")
    ] = None,
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="The image file to write.")] = "timeline.png",
    as_json: Json = False,
) -> None:
    """Plot memory, running stages and model switches over time."""
    from golem_chain.broker.cli.operations import timeline_plot
    from golem_chain.shared.settings import Settings

    timeline_plot.command(Settings.read(), jobs or [], last, out, as_json=as_json)


@app.command()
def flower() -> None:
    """Monitor the running system in a browser with Flower."""
    from golem_chain.broker.cli.operations.flower import serve
    from golem_chain.shared.settings import Settings

    with interrupted("Flower has stopped."):
        serve(Settings.read())


@app.command()
def deliver(
    dead: Annotated[bool, typer.Option("--dead", help="List the webhooks that were given up, and exit.")] = False,
    retry: Annotated[
        list[str] | None,
        typer.Option("--retry", metavar="ID", help="Try a dead webhook again, and exit; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Deliver webhooks: tell URLs how their jobs ended."""
    from golem_chain.broker.cli.operations import deliver
    from golem_chain.shared.settings import Settings

    if dead and retry:
        raise BadRequest("Give --dead or --retry ID, not both.")
    if dead:
        deliver.show_dead(Settings.read(), as_json=as_json)
    elif retry:
        deliver.retry(Settings.read(), retry, as_json=as_json)
    else:
        deliver.serve(Settings.read())


@app.command()
def functions(
    load: Annotated[bool, typer.Option("--load", help="Load them into GOLEM_REDIS_URL, as an administrator.")] = False,
) -> None:
    """Print or load the Redis functions of producers."""
    from golem_chain.broker.cli.operations.functions import command

    command(load=load)


#: Options of commands that another program runs: all arguments after the name, including --help, are passed on.
FORWARD = {"ignore_unknown_options": True, "help_option_names": []}
#: Their subcommands, for shell completion; importing the programs themselves would be too slow.
SUBCOMMANDS = {
    "models": ("pull", "list", "verify", "prove"),
    "eval": ("ks", "asr", "guards", "intents"),
    "bench": ("switch", "chain", "large", "interactive", "transcribe", "many", "listen", "serve", "boxes", "fleet"),
}


def _subcommands(context: typer.Context) -> list[str]:
    return [] if context.params.get("args") else list(SUBCOMMANDS.get(context.info_name or "", ()))


Args = Annotated[list[str] | None, typer.Argument(autocompletion=_subcommands)]


@app.command(context_settings=FORWARD, add_help_option=False)
def worker(args: Args = None) -> None:
    """Run a worker on GOLEM_REDIS_URL (--queues, --name)."""
    _hand_over("worker", args or [])


@app.command(context_settings=FORWARD, add_help_option=False)
def models(args: Args = None) -> None:
    """Manage model weights: pull, list, verify, prove."""
    _hand_over("models", args or [])


@app.command("eval", context_settings=FORWARD, add_help_option=False)
def evaluate(args: Args = None) -> None:
    """Measure accuracy: ks, asr, guards, intents."""
    _hand_over("eval", args or [])


@app.command(context_settings=FORWARD, add_help_option=False)
def bench(args: Args = None) -> None:
    """Run benchmarks: switch, chain, listen, serve, boxes, fleet."""
    _become(["-P", "-m", "golem_chain.benchmarks", *(args or [])])


def _hand_over(command: str, args: list[str]) -> NoReturn:
    """Replace this process by `python -m golem_chain.workers`, which the broker does not import."""
    from golem_chain.broker.local.system import WORKERS

    _become([*WORKERS[1:], command, *args])


def _become(args: list[str]) -> NoReturn:
    """Replace this process by another command of the interpreter. Raises MissingExtra without the model libraries."""
    from golem_chain.broker.local.system import need_worker

    need_worker()
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *args])  # noqa: S606 - our own interpreter


def main() -> None:
    """Run the console script. Errors are one sentence on stderr; exit code 2 for usage errors, else 1."""
    debug = os.environ.get("GOLEM_DEBUG") == "1"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from golem_chain.broker.cli.console import say

    try:
        app(prog_name="golem")  # for `python -m` too: shell completion uses this name
    except BrokenPipeError:  # `golem results … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except GolemError as exc:
        if debug:
            raise
        say(exc.message)
        sys.exit(2 if isinstance(exc, BadSetting | BadRequest | BadLabels) else 1)
    except Exception as exc:  # last resort: one sentence, with a hint to the traceback
        if debug:
            raise
        say(f"Internal error: {type(exc).__name__}: {exc}. Set GOLEM_DEBUG=1 to see the traceback.")
        sys.exit(1)


if __name__ == "__main__":
    main()
