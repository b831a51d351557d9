"""`golem eval asr`: word error rates by language, the worst files, and the accuracy of language detection."""

from collections.abc import Sequence
from dataclasses import dataclass

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.json_object import JsonObject
from golem_chain.workers.evaluation.datasets import Clip
from golem_chain.workers.evaluation.inference import Heard, hear, run_on
from golem_chain.workers.evaluation.report import Report, Table, say
from golem_chain.workers.evaluation.wer import edits, words
from golem_chain.workers.stages.scribe.engine import Scribe

#: Rows in the table of files; the JSON has all files.
SHOWN = 15


@dataclass(frozen=True)
class Scored:
    """One clip, scored against its reference."""

    heard: Heard
    language: str
    reference: list[str]
    found: list[str]
    edits: int


def evaluate(scribe: Scribe, clips: Sequence[Clip], hotwords: Sequence[str] = ()) -> Report:
    """Score every clip with reference words, and language detection on every clip whose language is known.

    Raises BadRequest if no clip can be scored.
    """
    spoken = [clip for clip in clips if not clip.silent]
    multilingual = bool(scribe.specials.languages)
    mine = [clip for clip in spoken if multilingual or clip.language in (None, "en")]
    if len(mine) < len(spoken):
        say(f"{scribe.weights.checkpoint.id} knows only English: {len(spoken) - len(mine)} clips are left out.")
    wanted = [clip for clip in mine if clip.text or (multilingual and clip.language)]
    if not wanted:
        raise BadRequest("None of the recordings has reference words in a language of the model: there is no WER.")
    hearing = hear(scribe, wanted, "transcripts", hotwords=hotwords)
    scored = [one for one in map(score, hearing.heard) if one is not None]
    languages = list(dict.fromkeys(one.language for one in scored))
    by_language = {name: rates([one for one in scored if one.language == name]) for name in languages}
    detected = [one.transcript.language == one.clip.language for one in hearing.heard if one.clip.language]
    found: JsonObject = {
        **rates(scored),
        "languages": by_language,
        "language_right": sum(detected) if multilingual else None,
        "language_clips": len(detected) if multilingual else None,
        "left_out": len(spoken) - len(wanted),
        "failed": hearing.failed,
        "clip_s": round(hearing.clip_s, 4),
        "by_file": [_record(one) for one in scored],
    }
    return Report("transcripts", found, _tables(found, scored), run_on=run_on(scribe))


def score(heard: Heard) -> Scored | None:
    """Score a clip against its reference; None if it has no reference words."""
    language = heard.clip.language or "en"
    reference = words(heard.clip.text or "", language)
    if not reference:
        return None
    found = words(heard.transcript.text, language)
    return Scored(heard, language, reference, found, edits(reference, found))


def rates(scored: Sequence[Scored]) -> JsonObject:
    """Return the totals; `wer` is the edits of all files per reference word, in percent."""
    count, wrong = sum(len(one.reference) for one in scored), sum(one.edits for one in scored)
    return {
        "wer": round(100 * wrong / count, 2) if count else None,
        "words": count,
        "edits": wrong,
        "files": len(scored),
        "exact": sum(not one.edits for one in scored),
        "silent": sum(not one.found for one in scored),
    }


def _record(one: Scored) -> JsonObject:
    return {
        "file": str(one.heard.clip.path),
        "language": one.language,
        "wer": round(100 * one.edits / len(one.reference), 2),
        "words": len(one.reference),
        "edits": one.edits,
        "heard": one.heard.transcript.text,
    }


def _tables(found: JsonObject, scored: Sequence[Scored]) -> tuple[Table, ...]:
    columns = ("files", "words", "edits", "wer", "exact", "silent")
    rows: list[tuple[object, ...]] = [
        (name, *(_shown(rate, key) for key in columns)) for name, rate in found["languages"].items()
    ]
    if len(rows) > 1:
        rows.append(("all", *(_shown(found, key) for key in columns)))
    sums = Table(
        "Transcripts",
        ("language", "files", "words", "edits", "WER", "no errors", "empty"),
        rows,
    )
    worst = [one for one in sorted(scored, key=lambda one: -one.edits)[:SHOWN] if one.edits]
    files = Table(
        f"Files with the most edits ({len(worst)} of {sum(bool(one.edits) for one in scored)} with errors)",
        ("file", "words", "edits", "transcript"),
        [
            (one.heard.clip.path.name, len(one.reference), one.edits, one.heard.transcript.text[:90] or "(silence)")
            for one in worst
        ],
    )
    tables = [sums, files] if worst else [sums]
    if found["language_clips"]:
        told = f"{found['language_right']} of {found['language_clips']}"
        tables.append(Table("Language detection", ("correct",), [(told,)]))
    return tuple(tables)


def _shown(rate: JsonObject, key: str) -> object:
    return f"{rate[key]} %" if key == "wer" else rate[key]
