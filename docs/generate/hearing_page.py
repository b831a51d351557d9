"""Writes the tables of docs/hearing.md and its pictures from real runs of `golem eval` on this machine.

usage: make hearing DATA=folder     (its folders: keywords, sentences, commands, multilingual, nonspeech, intents; as
                                    `golem eval` reads them; about ten minutes on two cores that do nothing else)
       make hearing DATA=folder SECTIONS="guards noise"     (only these: intents, keywords, transcripts, guards, noise)
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from golem_chain.benchmarks.report import into_docs
from golem_chain.shared.errors import BadRequest, GolemError
from golem_chain.shared.labels import load_labels
from golem_chain.shared.settings import Settings
from golem_chain.shared.vocabulary import parse_vocabulary
from golem_chain.workers.evaluation import asr, datasets, guards, inference, intents, keywords, robustness
from golem_chain.workers.evaluation.inference import open_interpreter, open_scribe
from golem_chain.workers.evaluation.report import Report, say
from golem_chain.workers.stages.scribe.engine import Scribe

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "hearing.md"
PHRASINGS = DOCS.parent / "tests" / "unit" / "workers" / "stages" / "interpreter" / "intent_phrasings.toml"
PICTURES = "figures/hearing-{}"

#: Spoken keywords in the section on noise, where they would outnumber the sentences; one-second words suffer most.
NOISY_KEYWORDS = 40
NOISY_DB = (20.0, 10.0, 5.0, 0.0)

#: Heading → what was found; "" where there is but one.
Reports = dict[str, Report]


def of_keywords(scribe: Scribe, data: Path) -> Reports:
    """Without fillers, and with those of Speech Commands."""
    clips = datasets.read_clips([data / "keywords"])
    found = {}
    others = ",".join(keywords.SPEECH_COMMANDS)
    for heading, fillers, picture in (
        ("Without fillers", None, "keywords.png"),
        ("With the other words as fillers", others, "keywords-fillers.png"),
    ):
        vocabulary = parse_vocabulary(",".join(keywords.WORDS), fillers)
        assert vocabulary is not None
        report = keywords.evaluate(scribe, clips, vocabulary)
        report.draw[keywords.PICTURE](DOCS / PICTURES.format(picture))
        found[heading] = report
    return found


def of_transcripts(scribe: Scribe, data: Path) -> Reports:
    """English with the profile's model; other languages with the multilingual one, where the store has it."""
    names = {"Sentences": "sentences", "Commands": "commands"}
    found = {shown: asr.evaluate(scribe, datasets.read_clips([data / name])) for shown, name in names.items()}
    try:
        other = open_scribe(Settings.read(models="multilingual"))
    except GolemError as exc:
        say(f"Other languages are left out: {exc.message}")
        return found
    return found | {"Other languages": asr.evaluate(other, datasets.read_clips([data / "multilingual"]))}


def of_guards(scribe: Scribe, data: Path) -> Reports:
    """Everything that is English or nothing."""
    places = [data / name for name in ("nonspeech", "keywords", "sentences", "commands")]
    return {"": guards.evaluate(scribe, datasets.read_clips(places))}


def of_noise(scribe: Scribe, data: Path) -> Reports:
    """Sentences, commands, every fourth keyword and all recordings without speech, under every condition."""
    clips = datasets.read_clips([data / name for name in ("nonspeech", "sentences", "commands")])
    words = datasets.read_clips([data / "keywords"])
    clips += [clip for clip in words if clip.silent]
    clips += datasets.some([clip for clip in words if not clip.silent], NOISY_KEYWORDS)
    treated = robustness.treatment(NOISY_DB, None, 0, scribe.settings, phone=True)
    report = robustness.extend(Report("noise", {}, (), run_on=inference.run_on(scribe)), scribe, clips, treated)
    report.draw[robustness.PICTURE](DOCS / PICTURES.format("noise.png"))
    return {"": report}


def of_intents(data: Path) -> Reports:
    """Bare labels, then phrasings with a sweep."""
    interpreter = open_interpreter(Settings.read())
    said = datasets.read_utterances(data / "intents")
    bare = [inference.ask(interpreter, f"{name}, names only", one, inference.bare(one)) for name, one in said.items()]
    phrased = [
        inference.ask(interpreter, name, one, load_labels(PHRASINGS, name))
        for name, one in said.items()
        if f"[{name}.labels]" in PHRASINGS.read_text(encoding="utf-8")
    ]
    for one in phrased:
        report = intents.evaluate(interpreter, [one])
        report.draw[f"intents-{one.name}.png"](DOCS / PICTURES.format(f"intents-{one.name}.png"))
    found = intents.evaluate(interpreter, [*bare, *phrased])
    tables = [table for one in phrased if one.outside() for table in intents.sweep(interpreter, one)]
    return {"": replace(found, tables=(found.tables[0], *tables))}  # without those by label


def body(reports: Reports) -> str:
    """All tables of some evaluations under their headings, and what they were measured with."""
    parts = []
    for heading, report in reports.items():
        tables = "\n".join(table.markdown() for table in report.tables)
        parts.append(f"### {heading}\n\n{tables}" if heading else tables)
    measured = dict.fromkeys(report.measured_with() for report in reports.values())
    return "\n".join([*parts, *measured])


def main(data: Path, chosen: Sequence[str] = ()) -> None:
    """Each section, or each chosen one, is written when it was measured."""
    scribe = open_scribe(Settings.read())
    sections: dict[str, Callable[[], Reports]] = {
        "intents": lambda: of_intents(data),
        "keywords": lambda: of_keywords(scribe, data),
        "transcripts": lambda: of_transcripts(scribe, data),
        "guards": lambda: of_guards(scribe, data),
        "noise": lambda: of_noise(scribe, data),
    }
    if unknown := set(chosen) - set(sections):
        raise BadRequest(f"There is no section {sorted(unknown)[0]}: they are {', '.join(sections)}.")
    for name, measure in sections.items():
        if chosen and name not in chosen:
            continue
        into_docs(PAGE, f"{name}: make hearing", body(measure()))
        say(f"{name}: written.")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except GolemError as exc:
        sys.exit(f"golem: {exc.message}")
