"""`golem eval ks`: keyword spotting with the classes of SUPERB (Yang et al., 2021): the words, `_unknown_` and
`_silence_`. The words are the Scribe's vocabulary; nothing is trained."""

from collections.abc import Sequence

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Vocabulary
from golem_chain.workers.evaluation import plots
from golem_chain.workers.evaluation.datasets import SILENCE, UNKNOWN, Clip
from golem_chain.workers.evaluation.inference import Heard, Hearing, hear, run_on
from golem_chain.workers.evaluation.metrics import rate
from golem_chain.workers.evaluation.report import Report, Table
from golem_chain.workers.stages.scribe.engine import Scribe

#: The ten words of the task.
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
#: The 25 other words of Speech Commands (Warden, 2018), in the published order: `--fillers speech-commands`.
SPEECH_COMMANDS = (
    "backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four", "happy", "house", "learn",
    "marvin", "nine", "one", "seven", "sheila", "six", "three", "tree", "two", "visual", "wow", "zero",
)  # fmt: skip
PICTURE = "keywords.png"


def evaluate(scribe: Scribe, clips: Sequence[Clip], vocabulary: Vocabulary) -> Report:
    """Transcribe all clips with the vocabulary. Raises BadRequest if a clip has no class."""
    words = vocabulary.phrases
    golds = [gold(clip, words) for clip in clips]
    hearing = hear(scribe, clips, "keywords", vocabulary)
    answers = [answer(one) for one in hearing.heard]
    classes = (*words, UNKNOWN, SILENCE)
    counts = confusion(classes, golds, answers)
    found = figures(golds, answers, hearing, words)
    return Report(
        name="keywords",
        figures=found | {"fillers": len(vocabulary.fillers), "classes": list(classes), "confusion": counts},
        tables=(_sums(found, vocabulary), _words(vocabulary, classes, counts)),
        draw={PICTURE: lambda out: plots.confusion(out, classes, counts, _title(found, vocabulary))},
        run_on=run_on(scribe),
    )


def gold(clip: Clip, words: Sequence[str]) -> str:
    """Return the true class of a clip: its label, else its text. Raises BadRequest if it has neither."""
    if clip.silent:
        return SILENCE
    said = clip.label if clip.label is not None else clip.text
    if said is None:
        raise BadRequest(f"{clip.path} has neither a label nor a text: what is said in it?")
    said = said.strip().casefold()
    return next((word for word in words if word.casefold() == said), UNKNOWN)


def answer(heard: Heard) -> str:
    """Return the predicted class."""
    choice = heard.transcript.choice
    if heard.wordless or choice is None:
        return SILENCE if heard.wordless else UNKNOWN
    return UNKNOWN if choice.phrase == "unknown" else choice.phrase


def closed(heard: Heard) -> str | None:
    """Return the likeliest word, ignoring `_unknown_` and `_silence_`; None if there is no choice."""
    choice = heard.transcript.choice
    return choice.candidates[0].phrase if choice and choice.candidates else None


def confusion(classes: Sequence[str], golds: Sequence[str], answers: Sequence[str]) -> list[list[int]]:
    """Return the confusion matrix: true classes in rows, predicted classes in columns."""
    pairs = list(zip(golds, answers, strict=True))
    return [[pairs.count((said, answered)) for answered in classes] for said in classes]


def figures(golds: Sequence[str], answers: Sequence[str], hearing: Hearing, words: Sequence[str]) -> JsonObject:
    """Return the `--json` figures; shares are between 0 and 1, None if there are no such clips."""
    right = [said == answered for said, answered in zip(golds, answers, strict=True)]
    silent = [answered != SILENCE for said, answered in zip(golds, answers, strict=True) if said == SILENCE]
    pairs = [(said, closed(one)) for said, one in zip(golds, hearing.heard, strict=True) if said in words]
    return {
        "accuracy": rate(right),
        "closed_accuracy": rate([said == heard for said, heard in pairs]),
        "words_accuracy": rate([ok for said, ok in zip(golds, right, strict=True) if said in words]),
        "unknown_accuracy": rate([ok for said, ok in zip(golds, right, strict=True) if said == UNKNOWN]),
        "silence_accuracy": rate([ok for said, ok in zip(golds, right, strict=True) if said == SILENCE]),
        "silence_with_words": sum(silent),
        "silence_clips": len(silent),
        "words_silenced": sum(
            answered == SILENCE and said != SILENCE for said, answered in zip(golds, answers, strict=True)
        ),
        "clips": len(golds),
        "failed": hearing.failed,
        "clip_s": round(hearing.clip_s, 4),
    }


def _sums(found: JsonObject, vocabulary: Vocabulary) -> Table:
    return Table(
        f"Keywords: {len(vocabulary.phrases) + 2} classes, {_named(vocabulary)}",
        ("clips", "accuracy", "words", "closed", "unknown", "silence", "silent clips with text", "s per clip"),
        [
            (found["clips"], found["accuracy"], found["words_accuracy"], found["closed_accuracy"],
             found["unknown_accuracy"], found["silence_accuracy"],
             f"{found['silence_with_words']} of {found['silence_clips']}", f"{found['clip_s']:.2f}")
        ],
    )  # fmt: skip


def _words(vocabulary: Vocabulary, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    rows: list[tuple[object, ...]] = []
    for place, name in enumerate(classes):
        said, answered = sum(counts[place]), sum(row[place] for row in counts)
        others = [
            f"{classes[column]} {count}" for column, count in enumerate(counts[place]) if count and column != place
        ]
        if said or answered:
            rows.append((name, said, counts[place][place], answered - counts[place][place], ", ".join(others) or "–"))
    return Table(
        f"By class, {_named(vocabulary)}", ("class", "clips", "correct", "false positives", "misclassified as"), rows
    )


def _title(found: JsonObject, vocabulary: Vocabulary) -> str:
    return f"{found['clips']} clips, {100 * (found['accuracy'] or 0):.1f} % right, {_named(vocabulary)}"


def _named(vocabulary: Vocabulary) -> str:
    return f"{len(vocabulary.fillers) or 'no'} fillers named"
