"""The commands `golem eval ks|asr|guards|intents`. The model libraries are imported when an evaluation runs."""

from os.path import isfile  # False for an impossible path, where Path raises
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.labels import load_labels, parse_labels
from golem_chain.shared.records import LabelSet
from golem_chain.shared.settings import Settings
from golem_chain.shared.vocabulary import parse_hotwords, parse_vocabulary
from golem_chain.workers.evaluation import datasets

if TYPE_CHECKING:
    from golem_chain.workers.evaluation.report import Report
    from golem_chain.workers.evaluation.robustness import Treatment

app = typer.Typer(
    help="Measure accuracy: ks, asr, guards, intents.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

#: Largest signal-to-noise ratio either way, dB: beyond that there is no noise, or nothing else.
MOST_DB = 60

#: Value of `--fillers` that selects the built-in list.
NAMED_FILLERS = "speech-commands"

_Places = Annotated[
    list[Path], typer.Argument(metavar="DATA", help="Folders of recordings, or manifests (JSON lines).")
]
_Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Sample at most N, evenly spread.")]
_Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for results and plots (default: eval-…).")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON line instead of tables.")]
_Noise = Annotated[
    str | None,
    typer.Option(
        "--noise", metavar="DB,DB…", help="Also measure with noise mixed in at these signal-to-noise ratios: 20,10,5,0."
    ),
]
_NoiseFiles = Annotated[
    Path | None,
    typer.Option(
        "--noise-files", metavar="FOLDER", help="Recordings of noise (default: computed pink noise, babble and hum)."
    ),
]
_Telephone = Annotated[
    bool, typer.Option("--telephone", help="Also measure over a telephone line: 8 kHz, 300-3400 Hz, μ-law.")
]
_Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Which part of which noise a recording gets.")]


@app.command()
def ks(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder with one subfolder per word, or a manifest.")],
    words: Annotated[
        str, typer.Option("--words", metavar="WORDS", help="yes,no or @file (default: the ten words of SUPERB).")
    ] = "",
    fillers: Annotated[
        str | None,
        typer.Option(
            "--fillers",
            metavar="WORDS",
            help="Other expected words, which count as unknown: bed,bird or @file or speech-commands, which stands for "
            "the other 25 words of that data set.",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="N",
            min=2,
            help="Cross-validate over speakers instead: choose floor and margin on all folds but one, measure on that.",
        ),
    ] = None,
    limit: _Limit = None,
    out: _Out = None,
    as_json: _Json = False,
) -> None:
    """Measure keyword spotting.

    Accuracy over the words, unknown and silence, counted as in SUPERB, and a confusion matrix.
    """
    from golem_chain.workers.evaluation import folds as crossed
    from golem_chain.workers.evaluation import keywords

    spoken = words or ",".join(keywords.WORDS)
    others = ",".join(keywords.SPEECH_COMMANDS) if fillers == NAMED_FILLERS else fillers
    vocabulary = parse_vocabulary(spoken, others)
    assert vocabulary is not None
    clips = datasets.some(datasets.read_clips([data]), limit)
    golds = [keywords.gold(clip, vocabulary.phrases) for clip in clips]
    if not set(golds) & set(vocabulary.phrases):
        raise BadRequest(
            f"{data} has no recordings of {', '.join(vocabulary.phrases[:10])}: list its words with --words."
        )
    from golem_chain.workers.evaluation.inference import open_scribe

    scribe = open_scribe(Settings.read())
    report = crossed.evaluate(scribe, clips, vocabulary, folds) if folds else None
    _end(report or keywords.evaluate(scribe, clips, vocabulary), "ks", out, as_json)


@app.command()
def asr(
    data: _Places,
    hotwords: Annotated[
        str | None,
        typer.Option("--hotwords", metavar="NAMES", help="As in golem run: Ecobee,Kitchener or @file."),
    ] = None,
    noise: _Noise = None,
    noise_files: _NoiseFiles = None,
    telephone: _Telephone = False,
    seed: _Seed = 0,
    limit: _Limit = None,
    out: _Out = None,
    as_json: _Json = False,
) -> None:
    """Measure transcription.

    Word error rate in percent, by language and file, and the accuracy of language detection.
    """
    names = parse_hotwords(hotwords) or ()
    clips = datasets.some(datasets.read_clips(data), limit)
    treated = _treatment(noise, noise_files, telephone, seed)
    from golem_chain.workers.evaluation import asr, robustness
    from golem_chain.workers.evaluation.inference import open_scribe

    scribe = open_scribe(Settings.read())
    report = asr.evaluate(scribe, clips, names)
    _end(robustness.extend(report, scribe, clips, treated, names) if treated else report, "asr", out, as_json)


@app.command()
def guards(
    data: _Places,
    noise: _Noise = None,
    noise_files: _NoiseFiles = None,
    telephone: _Telephone = False,
    seed: _Seed = 0,
    limit: _Limit = None,
    out: _Out = None,
    as_json: _Json = False,
) -> None:
    """Measure the guards against invented text.

    For each guard, how many recordings without speech produce text, and how many with speech produce none.
    """
    clips = datasets.some(datasets.read_clips(data), limit)
    treated = _treatment(noise, noise_files, telephone, seed)
    from golem_chain.workers.evaluation import guards, robustness
    from golem_chain.workers.evaluation.inference import open_scribe

    scribe = open_scribe(Settings.read())
    report = guards.evaluate(scribe, clips)
    _end(robustness.extend(report, scribe, clips, treated) if treated else report, "guards", out, as_json)


@app.command()
def intents(
    data: Annotated[
        list[Path], typer.Argument(metavar="DATA", help="JSON lines with text and intent, or folders of them.")
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="SET",
            help="As in golem run; of a label file, the set named like the data (default: the names of the intents).",
        ),
    ] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Also try other templates and thresholds of unknown.")] = False,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit temperature and threshold, and store them in the label file.")
    ] = False,
    limit: _Limit = None,
    out: _Out = None,
    as_json: _Json = False,
) -> None:
    """Measure intent classification.

    Accuracy, calibration, and how many out-of-scope utterances (intent `oos`) become unknown.
    """
    found: dict[str, list[datasets.Said]] = {}
    for place in data:
        for name, said in datasets.read_utterances(place).items():
            if name in found:
                raise BadRequest(
                    f"Two data files are named {name}: rename one of them, because results are stored by name."
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
            say(f"Stored {values} ({interpreter.method}) for the set {name} in {path}.")
    _end(intents.evaluate(interpreter, asked, tables), "intents", out, as_json)


def _treatment(noise: str | None, files: Path | None, telephone: bool, seed: int) -> "Treatment | None":
    """Return what `--noise`, `--noise-files`, `--telephone` and `--seed` ask for; None for nothing."""
    if noise is None and files is not None:
        raise BadRequest("--noise-files needs --noise: give the signal-to-noise ratios in dB, as --noise 20,10,5,0.")
    if noise is None and not telephone:
        return None
    snrs = _snrs(noise) if noise is not None else []
    if seed < 0:
        raise BadRequest(f"--seed {seed} is negative: give 0 or more.")
    from golem_chain.workers.evaluation import robustness

    return robustness.treatment(snrs, files, seed, Settings.read(), phone=telephone)


def _snrs(option: str) -> list[float]:
    try:
        snrs = [float(part) for part in option.split(",")]
    except ValueError:
        snrs = []
    if not snrs or not all(abs(snr) <= MOST_DB for snr in snrs):
        raise BadRequest(
            f"--noise {option} is no list of signal-to-noise ratios: give numbers in dB between -{MOST_DB} and "
            f"{MOST_DB}, as --noise 20,10,5,0."
        )
    return snrs


def _labels(option: str | None, name: str) -> LabelSet | None:
    """Return the label set for a set of utterances; from a file, the set of the same name if there is one."""
    if option is None:
        return None
    path, chosen = _file(option, name)
    return load_labels(path, chosen) if path is not None else parse_labels(option)


def _file(option: str | None, name: str) -> tuple[Path | None, str]:
    """Return the label file of `--labels` (None if the option lists labels) and the name of the set in it."""
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
    """Print the report and write its files."""
    from golem_chain.workers.evaluation.report import say, show, write

    show(report, as_json=as_json)
    folder = out or Path(f"eval-{what}")
    say(f"Wrote {', '.join(map(str, write(report, folder)))}.")
