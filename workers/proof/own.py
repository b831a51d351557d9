"""What is compared: the calibration set that ships with the package, and what a user adds with `--with FOLDER`."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.extensions import EXTENSIONS
from golem_chain.shared.labelfile import read_sets
from golem_chain.shared.labels import check_labels
from golem_chain.shared.records import LabelSet
from golem_chain.workers.evaluation.datasets import MANIFEST, read_clips, read_utterances

CALIBRATION = Path(__file__).with_name("calibration")
#: The most of a user's own that is compared, of each kind: a proof is to take minutes, not days.
MOST_OWN = 1000


@dataclass(frozen=True)
class Clip:
    """A recording to transcribe."""

    name: str
    path: Path
    language: str | None = None  # ISO 639-1, spoken in it; None: not known


@dataclass(frozen=True)
class Set:
    """All that is compared. The user's own comes last in each, `own` of them."""

    clips: tuple[Clip, ...]
    texts: tuple[tuple[str, str | None], ...]  # with their languages
    labels: tuple[LabelSet, ...]
    own_clips: int = 0
    own_texts: int = 0


@cache
def shipped() -> Set:
    """The calibration set."""
    clips = tuple(Clip(one.path.name, one.path, one.language) for one in read_clips([CALIBRATION / "clips"]))
    said = tomllib.loads((CALIBRATION / "texts.toml").read_text(encoding="utf-8"))
    texts = tuple((text, language) for language, some in said.items() for text in some)
    labels = tuple(check_labels(one) for one in read_sets(CALIBRATION / "labels.toml").values())
    return Set(clips, texts, labels)


def with_folder(folder: Path | None) -> Set:
    """The calibration set and what a folder holds: recordings, as files or by a manifest; texts, a line each in `.txt`
    files, or as the `text` of JSON lines. Raises BadRequest if it has neither, or if a file cannot be read."""
    base = shipped()
    if folder is None:
        return base
    if not folder.is_dir():
        raise BadRequest(f"There is no folder {folder}: --with takes one with recordings or texts.")
    clips = _recordings(folder)
    texts = _texts(folder)
    if not clips and not texts:
        raise BadRequest(f"The folder {folder} has neither recordings nor texts (.txt, or .jsonl with a text).")
    return Set(
        (*base.clips, *clips[:MOST_OWN]),
        (*base.texts, *texts[:MOST_OWN]),
        base.labels,
        len(clips[:MOST_OWN]),
        len(texts[:MOST_OWN]),
    )


def _recordings(folder: Path) -> list[Clip]:
    inside = (folder / MANIFEST).is_file() or any(path.suffix.lower() in EXTENSIONS for path in folder.rglob("*"))
    return [Clip(one.path.name, one.path, _spoken(one.language)) for one in read_clips([folder])] if inside else []


def _spoken(language: str | None) -> str | None:
    return language if language and language != "zxx" else None


def _texts(folder: Path) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for path in sorted(folder.glob("*.txt")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise BadRequest(f"{path} cannot be read: {why}.") from None
        found += [(line.strip(), None) for line in lines if line.strip()]
    if any(path.name != MANIFEST for path in folder.glob("*.jsonl")):
        found += [(one.text, one.language) for said in read_utterances(folder).values() for one in said if one.text]
    return found


def prompts(
    texts: Sequence[tuple[str, str | None]], labels: Sequence[LabelSet], count: int
) -> list[tuple[str, str, LabelSet]]:
    """`count` texts, evenly spaced over all languages, each with a label in turn and its set: what the Oracle is asked
    to answer."""
    named = [(label.name, one) for one in labels for label in one.labels]
    spread = [texts[place * len(texts) // count] for place in range(min(count, len(texts)))]
    return [(text, *named[place * _STRIDE % len(named)]) for place, (text, _) in enumerate(spread)]


#: Labels are taken in steps of so many, so that neighbouring texts get labels of other sets.
_STRIDE = 7
