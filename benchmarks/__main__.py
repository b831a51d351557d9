"""The commands of `golem bench`: each measures everything that it compares in one run."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from golem_chain.benchmarks.report import Table
from golem_chain.shared.errors import BadRequest, GolemError
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
console = Console(width=120)
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
DOCS = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the tables to this Markdown file.")]


def _sets(settings: Settings, which: str) -> dict[str, Settings]:
    """Return the settings of each measured set of models by name, and pull what is missing."""
    from golem_chain.benchmarks.switch.shapes import quest_shapes
    from golem_chain.workers.store.sources.pull import pull

    pull(settings)
    sets = {"profile": settings}
    if which != "profile":
        sets["quest shapes, random weights"] = quest_shapes(settings)
        pull(sets["quest shapes, random weights"])
    return {name: chosen for name, chosen in sets.items() if which != "shapes" or name != "profile"}


@app.callback()
def golem_bench() -> None:
    """Run benchmarks. Each command measures both sides in one run and prints ratios."""


@app.command()
def switch(
    json_: JSON = False,
    docs: DOCS = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Repetitions; the tables show medians.")] = 7,
    switches: Annotated[int, typer.Option(metavar="N", min=3, help="Switches in the drift measurement.")] = 200,
    models: Annotated[
        str, typer.Option(metavar="MODELS", help="profile, shapes (of quest, random weights) or both.")
    ] = "both",
    memory: Annotated[bool, typer.Option(help="Also measure memory.")] = True,
) -> None:
    """Measure the cost of a model switch.

    Compared with a memcpy of the same bytes and with from_pretrained.
    """
    from golem_chain.benchmarks import report
    from golem_chain.benchmarks.clock import hardware
    from golem_chain.benchmarks.switch.measure import measure
    from golem_chain.benchmarks.switch.memory import table
    from golem_chain.workers.store.manifest import find

    settings = Settings.read()
    results: JsonObject = {"hardware": hardware()}
    for name, chosen in _sets(settings, models).items():
        if not json_:
            console.log(f"measuring {name}")
        stages = ("scribe", "interpreter", "oracle")
        results[name] = measure(chosen, {stage: find(chosen, stage) for stage in stages}, rounds, switches)
        if memory:
            clip = Path(__file__).resolve().parents[1] / "samples" / "lights-on.flac"
            wanted = chosen.model_copy(update={"scribe_model": settings.scribe_model})  # random weights never stop
            results[name]["memory"] = [vars(row) for row in table(wanted, clip)]
    if docs:
        report.into_docs(docs, "switch", report.switch_markdown(results))
    if json_:
        print(json.dumps(results))
    else:
        for shown in report.switch_tables(results):
            console.print(shown)


@app.command()
def chain(
    json_: JSON = False,
    docs: DOCS = None,
    clips: Annotated[
        int, typer.Option(metavar="N", min=1, max=10, help="Recordings for pipelines and small backlogs.")
    ] = 10,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Jobs in a large backlog.")] = 100,
    many: Annotated[int, typer.Option(metavar="N", min=2, help="Jobs in the largest backlog, for small models.")] = 300,
    lone: Annotated[int, typer.Option(metavar="N", min=1, help="Single jobs with each setting of residency.")] = 30,
    heard: Annotated[
        int, typer.Option(metavar="N", min=1, help="Recordings of each kind for the Scribe alone, at most.")
    ] = 1000,
    parts: Annotated[
        str,
        typer.Option(metavar="LIST", help="quest,bundled,proved,packed,oracle,scribe,lone,processors,small."),
    ] = "",
) -> None:
    """Compare the chain with transformers and faster-whisper.

    All run the same clips with the same weights.
    """
    from golem_chain.benchmarks.chain import comparison, performance

    chosen = tuple(part for part in parts.split(",") if part)
    if unknown := [part for part in chosen if part not in performance.PARTS]:
        raise BadRequest(f"--parts {unknown[0]} is not known: use {', '.join(performance.PARTS)}.")
    plan = performance.Plan(clips, max(jobs, clips + 1), max(many, jobs + 1), lone, heard, chosen)
    found = performance.measure(Settings.read(), plan, Console(stderr=True, quiet=json_).log)
    if docs:
        comparison.write(found, docs)
    if json_:
        print(json.dumps(comparison.as_json(found)))
    else:
        for table in comparison.tables(found):
            console.print(table.rich())


@app.command()
def large(
    json_: JSON = False,
    docs: DOCS = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For the weights, 21 GB while it runs; default: the system's.")
    ] = None,
    bits: Annotated[str, typer.Option(metavar="LIST", help="Which weights: off (bfloat16), 8 and 4 bits.")] = "off,8,4",
) -> None:
    """Measure larger models that take turns in 4 and 2 GiB.

    Published shapes with random weights: what fits, what is refused.
    """
    from golem_chain.benchmarks.large.measure import BITS, measure
    from golem_chain.benchmarks.large.report import tables, told

    chosen = [one for one in bits.split(",") if one]
    if unknown := [one for one in chosen if one not in BITS]:
        raise BadRequest(f"--bits {unknown[0]} is not known: use {', '.join(BITS)}.")
    found = measure(Settings.read(), folder, chosen, Console(stderr=True, quiet=json_).log)
    _show(asdict(found), [*tables(found)], "large", docs, as_json=json_, told=told(found))


@app.command()
def interactive(
    json_: JSON = False,
    docs: DOCS = None,
    every: Annotated[float, typer.Option(metavar="N", min=0.5, help="Seconds between two commands.")] = 20,
    commands: Annotated[int, typer.Option(metavar="N", min=1, help="Commands on the busy box, at least.")] = 50,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few and short recordings: minutes instead of an hour.")
    ] = False,
) -> None:
    """Measure spoken commands on a box with bulk work.

    Compared with an idle box, and with the bulk work alone.
    """
    from golem_chain.benchmarks.chain.interactive import QUICK, Plan, measure, tables

    plan = QUICK if quick else replace(Plan(), every_s=every, commands=commands)
    found = measure(Settings.read(), plan, Console(stderr=True, quiet=json_).log)
    _show_found(found, [*tables(found)], "interactive", docs, as_json=json_)


@app.command()
def transcribe(
    json_: JSON = False,
    docs: DOCS = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Jobs in a backlog.")] = 120,
    turns: Annotated[int, typer.Option(metavar="N", min=1, help="Repetitions; the tables show medians.")] = 5,
) -> None:
    """Measure jobs that stop at the Scribe.

    Compared with its engine, called directly with batches of the same size.
    """
    from golem_chain.benchmarks.chain.transcribe import measure, tables

    found = measure(Settings.read(), jobs, turns, Console(stderr=True, quiet=json_).log)
    _show_found(found, [*tables(found)], "transcribe", docs, as_json=json_)


@app.command()
def many(
    json_: JSON = False,
    docs: DOCS = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Jobs that are submitted in one turn.")] = 10_000,
    waiting: Annotated[int, typer.Option(metavar="N", min=1, help="Jobs that are waited for.")] = 100_000,
    seconds: Annotated[float, typer.Option(metavar="N", min=1, help="How long they are waited for.")] = 30,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Turns of submitting; the tables show medians.")] = 3,
) -> None:
    """Measure a producer with many jobs: submits, waits, groups.

    There is no worker, so nothing ends.
    """
    from golem_chain.benchmarks.producer.many import measure, tables

    found = measure(Settings.read(), jobs, waiting, seconds, rounds, Console(stderr=True, quiet=json_).log)
    _show_found(found, [*tables(found)], "many", docs, as_json=json_)


@app.command()
def listen(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Recordings to replay.", show_default=False)
    ] = None,
    json_: JSON = False,
    docs: DOCS = None,
    pause: Annotated[float, typer.Option(metavar="SECONDS", min=0.2, max=3.0, help="As of golem listen.")] = 0.5,
    clips: Annotated[int, typer.Option(metavar="N", min=1, help="Recordings to choose if none are named.")] = 30,
) -> None:
    """Measure how soon golem listen shows words.

    Recordings are replayed at the speed of their speech.
    """
    from golem_chain.benchmarks.listen import measure

    say = Console(stderr=True, quiet=json_).log
    found = measure.measure(Settings.read(), measure.clips(files or [], clips), say, pause)
    _show(found, measure.tables(found), "listen", docs, as_json=json_)


@app.command()
def serve(
    json_: JSON = False,
    docs: DOCS = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Requests, each beside a job without a server.")] = 200,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Rounds of 100 clients at once.")] = 10,
) -> None:
    """Measure golem serve: its start, its overhead, 100 clients.

    All but the start with a worker whose engines answer at once.
    """
    from golem_chain.benchmarks.serve.run import measure, tables

    found = measure(jobs, rounds, Console(stderr=True, quiet=json_).log)
    _show_found(found, [*tables(found)], "serve", docs, as_json=json_)


@app.command()
def boxes(
    json_: JSON = False,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Worker processes.")] = 3,
    rate: Annotated[float, typer.Option(metavar="N", min=0.1, help="Jobs per second.")] = 25,
    seconds: Annotated[float, typer.Option(metavar="N", min=1, help="For how many seconds jobs arrive.")] = 60,
    pattern: Annotated[str, typer.Option(metavar="PATTERN", help="Arrivals: poisson, bursty or daily.")] = "poisson",
    prefer: Annotated[
        str, typer.Option(metavar="GOAL", help="The goal of scheduling: throughput, latency or balanced.")
    ] = "balanced",
) -> None:
    """Measure switches and latencies of workers with stub engines.

    A load takes 150 ms, a job 20 ms.
    """
    from golem_chain.benchmarks.fleet.scaling import measured

    table, found = measured(workers, rate, seconds, pattern, prefer)
    print(json.dumps(found)) if json_ else console.print(table.rich())


@app.command()
def fleet(
    docs: Annotated[
        Path, typer.Option(metavar="FILE", help="The Markdown file to update; plots go to figures/ beside it.")
    ] = Path("docs/scaling.md"),
    costs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON of measured stage costs; default: costs.json beside the Markdown file, as golem bench chain "
            "writes it, otherwise the built-in.",
        ),
    ] = None,
    real: Annotated[bool, typer.Option(help="Check predictions against real workers (2 minutes).")] = True,
) -> None:
    """Simulate 1 to 1,000 boxes with the scheduler of real workers.

    Writes the tables and plots of docs/scaling.md.
    """
    from golem_chain.benchmarks.fleet.scaling import write

    beside = docs.parent / "costs.json"
    costs = costs or (beside if beside.is_file() else None)
    for table in write(docs, costs, real=real, say=console.log):
        console.print(table.rich())


def _show_found(found: Any, tables: Sequence[Table], name: str, docs: Path | None, *, as_json: bool) -> None:
    """As `_show`, for findings that tell their hardware and have targets."""
    targets = [table.rows for table in tables if table.title == "Targets"]
    told = f"Measured on: {found.hardware}.\n\n"
    _show(asdict(found) | {"targets": targets[0]}, tables, name, docs, as_json=as_json, told=told)


def _show(
    found: JsonObject, tables: Sequence[Table], name: str, docs: Path | None, *, as_json: bool, told: str = ""
) -> None:
    """Print findings as JSON or as tables, and write the tables into the docs, after what is `told`."""
    from golem_chain.benchmarks.report import into_docs

    if docs:
        into_docs(docs, name, told + "\n".join(table.markdown() for table in tables))
    if as_json:
        print(json.dumps(found))
        return
    for table in tables:
        console.print(table.rich())


def main() -> None:
    """Run a command; a GolemError is printed as one sentence."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in a worker; read when torch is loaded
    try:
        app(prog_name="golem bench")
    except GolemError as exc:
        print(exc.message, file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
