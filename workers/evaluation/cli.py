"""`golem eval ks|asr|guards|intents`: what the models hear and understand, measured. Heavy imports wait for a run."""

from os.path import isfile  # False for what no path can be, where Path raises
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.labels import load_labels, parse_labels
from golem_chain.shared.records import LabelSet
from golem_chain.shared.settings import Settings
from golem_chain.shared.vocabulary import parse_vocabulary
from golem_chain.workers.evaluation import datasets

if TYPE_CHECKING:
    from golem_chain.workers.evaluation.report import Report

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

#: `--fillers` that names the built-in list instead of words.
NAMED_FILLERS = "speech-commands"

_Places = Annotated[
    list[Path], typer.Argument(metavar="DATA…", help="Folders of recordings, or manifests (JSON lines).")
]
_Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many, evenly out of all.")]
_Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder of the JSON, tables and pictures (default: eval-…).")
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON line instead of tables.")]


@app.command()
def ks(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder with a folder for each word, or a manifest.")],
    words: Annotated[str, typer.Option("--words", help="The words, by commas, or @file.")] = "",
    fillers: Annotated[
        str | None,
        typer.Option(
            "--fillers",
            help="Words that may be said too and count as unknown: by commas, @file, or speech-commands for the 25 "
            "other words of that data set.",
        ),
    ] = None,
    limit: _Limit = None,
    out: _Out = None,
    as_json: _Json = False,
) -> None:
    """Keywords: accuracy over the words, _unknown_ and _silence_, as SUPERB counts it; a confusion matrix."""
    from golem_chain.workers.evaluation import keywords

    spoken = words or ",".join(keywords.WORDS)
    others = ",".join(keywords.SPEECH_COMMANDS) if fillers == NAMED_FILLERS else fillers
    vocabulary = parse_vocabulary(spoken, others)
    assert vocabulary is not None
    clips = datasets.some(datasets.read_clips([data]), limit)
    golds = [keywords.gold(clip, vocabulary.phrases) for clip in clips]
    if not set(golds) & set(vocabulary.phrases):
        raise BadRequest(f"{data} has no recording of {', '.join(vocabulary.phrases[:10])}: name its words by --words.")
    from golem_chain.workers.evaluation.inference import open_scribe

    _end(keywords.evaluate(open_scribe(Settings.read()), clips, vocabulary), "ks", out, as_json)


@app.command()
def asr(data: _Places, limit: _Limit = None, out: _Out = None, as_json: _Json = False) -> None:
    """Transcripts: the word error rate (in percent) by language and file; how often the language is told."""
    clips = datasets.some(datasets.read_clips(data), limit)
    from golem_chain.workers.evaluation import asr
    from golem_chain.workers.evaluation.inference import open_scribe

    _end(asr.evaluate(open_scribe(Settings.read()), clips), "asr", out, as_json)


@app.command()
def guards(data: _Places, limit: _Limit = None, out: _Out = None, as_json: _Json = False) -> None:
    """Guards: how many recordings without speech give words, and how many with speech give none, under each guard."""
    clips = datasets.some(datasets.read_clips(data), limit)
    from golem_chain.workers.evaluation import guards
    from golem_chain.workers.evaluation.inference import open_scribe

    _end(guards.evaluate(open_scribe(Settings.read()), clips), "guards", out, as_json)


@app.command()
def intents(
    data: Annotated[
        list[Path], typer.Argument(metavar="DATA…", help="JSON lines of text and intent, or their folder.")
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            help="As in golem run; of a file the set named as the data is (default: the intents as they are named).",
        ),
    ] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Try templates and thresholds of unknown too.")] = False,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit temperature and threshold, and store them in the label file.")
    ] = False,
    limit: _Limit = None,
    out: _Out = None,
    as_json: _Json = False,
) -> None:
    """Intents: accuracy, calibration, what is out of scope (intent `oos`) and becomes unknown."""
    found: dict[str, list[datasets.Said]] = {}
    for place in data:
        for name, said in datasets.read_utterances(place).items():
            if name in found:
                raise BadRequest(
                    f"Two files of utterances are called {name}: rename one, their results go by this name."
                )
            found[name] = datasets.some(said, limit)
    from golem_chain.workers.evaluation import calibration, inference, intents
    from golem_chain.workers.evaluation.inference import open_interpreter
    from golem_chain.workers.evaluation.report import Table, say

    chosen = {name: _labels(labels, name) or inference.bare(said) for name, said in found.items()}
    interpreter = open_interpreter(Settings.read())
    asked = [inference.ask(interpreter, name, said, chosen[name]) for name, said in found.items()]
    tables: list[Table] = []
    for one in asked:
        tables += intents.sweep(interpreter, one) if sweep else []
        if fit:
            fitted = intents.fit(one)
            path, name = _file(labels, one.name)
            if path is not None:
                calibration.store(path, name, interpreter.method, fitted)
            else:
                path = (out or Path("eval-intents")) / f"{one.name}.toml"
                calibration.create(path, one.name, one.labels, interpreter.method, fitted)
            values = ", ".join(f"{key} {value}" for key, value in fitted.model_dump(exclude_none=True).items())
            say(f"{path}: {values} ({interpreter.method}) stored for the set {name}.")
    _end(intents.evaluate(interpreter, asked, tables), "intents", out, as_json)


def _labels(option: str | None, name: str) -> LabelSet | None:
    """The label set for a set of utterances: of a file the one of that name, where it has one."""
    if option is None:
        return None
    path, chosen = _file(option, name)
    return load_labels(path, chosen) if path is not None else parse_labels(option)


def _file(option: str | None, name: str) -> tuple[Path | None, str]:
    """The label file that `--labels` names, and the set of it that is meant; None where it names labels."""
    from golem_chain.shared.labelfile import read_sets

    if option is None:
        return None, name
    text = option.strip().removeprefix("@")
    path, _, chosen = (text, "", "") if isfile(text) else text.rpartition(":")  # noqa: PTH113
    if not isfile(path):  # noqa: PTH113
        return None, name
    sets = read_sets(Path(path))
    if chosen or name in sets:
        return Path(path), chosen or name
    return Path(path), next(iter(sets)) if len(sets) == 1 else "default"


def _end(report: "Report", what: str, out: Path | None, as_json: bool) -> None:
    """Show what was found, and write it."""
    from golem_chain.workers.evaluation.report import say, show, write

    show(report, as_json=as_json)
    folder = out or Path(f"eval-{what}")
    say(f"Written: {', '.join(map(str, write(report, folder)))}.")
