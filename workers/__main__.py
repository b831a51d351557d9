"""`python -m workers`: start a worker, look after the models. `golem worker` and `golem models` lead here."""

import json
import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from golem_chain.shared.errors import BadLabels, BadRequest, BadSetting, GolemError, ModelMissing
from golem_chain.shared.settings import Settings
from golem_chain.shared.text import visible
from golem_chain.workers.devices.faults import fault_of, first_line
from golem_chain.workers.evaluation.cli import app as evaluation
from golem_chain.workers.proof import commands as proof  # noqa: F401 - its command is registered by the import
from golem_chain.workers.store.commands import app as models

app = typer.Typer(
    name="golem",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(models, name="models")
app.add_typer(evaluation, name="eval")


@app.command()
def worker(
    queues: Annotated[
        str | None,
        typer.Option("--queues", metavar="STAGES", help="Serve only these stages: scribe,oracle (default: all)."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The node name, unique to this worker (default: the host name)."),
    ] = None,
) -> None:
    """Run a worker, which processes jobs from GOLEM_REDIS_URL until it is stopped."""
    from golem_chain.workers.parent.worker import start

    chosen = [queue.strip() for queue in queues.split(",") if queue.strip()] if queues is not None else None
    raise typer.Exit(start(Settings.read(), chosen, name))


@app.command(hidden=True)
def ensure(stages: list[str]) -> None:
    """Pull the models of these stages that are not in the store; what is there is not read (`models pull` verifies
    it)."""
    from golem_chain.workers.store.manifest import find

    settings, missing = Settings.read(), []
    for stage in stages:
        try:
            find(settings, stage)
        except ModelMissing:
            missing.append(stage)
    if missing:
        from golem_chain.workers.store.sources.pull import pull

        pull(settings, None, tuple(missing))


@app.command(hidden=True)
def doctor() -> None:
    """Check models and device, and print the findings as one JSON object: the workers' half of `golem doctor`."""
    from golem_chain.workers.devices import doctor as devices
    from golem_chain.workers.store import doctor as store

    settings = Settings.read()
    found = store.read(settings)
    findings = [
        *(*store.check(found), store.disk(settings)),
        *devices.check(settings, lambda card: store.needs(settings, found, card)),
    ]
    sys.stdout.write(json.dumps({"checks": [asdict(one) for one in findings]}) + "\n")


def main() -> None:
    """Run a command; an error is one sentence on stderr, and exit code 2 for what was typed wrongly, else 1."""
    try:
        app(prog_name="golem")
    except GolemError as exc:
        if os.environ.get("GOLEM_DEBUG") == "1":
            raise
        sys.stderr.write(f"golem: {visible(exc.message)}\n")
        sys.exit(2 if isinstance(exc, BadSetting | BadRequest | BadLabels) else 1)
    except RuntimeError as exc:
        if os.environ.get("GOLEM_DEBUG") == "1" or fault_of(exc) is None:
            raise
        sys.stderr.write(f"golem: The device fails: {visible(first_line(exc))}; `golem doctor` tries it.\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
