"""`golem eval guards`: how many recordings each set of guards silences, with and without speech.

The model decodes each window once, whatever the guards, because most of them only judge decoded text.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import GUARDS
from golem_chain.workers.evaluation.datasets import Clip
from golem_chain.workers.evaluation.inference import Heard, hear_batch, progress, run_on
from golem_chain.workers.evaluation.metrics import rate
from golem_chain.workers.evaluation.report import Report, Table
from golem_chain.workers.stages.scribe.audio.windows import Window
from golem_chain.workers.stages.scribe.engine import Scribe
from golem_chain.workers.stages.scribe.prepared import PreparedAudio, ProgressMeter
from golem_chain.workers.stages.scribe.transcribe import Transcriber, Work

ALL, NONE = "all", "none"


def combinations() -> dict[str, tuple[str, ...]]:
    """Return the measured sets of guards by name: all, none, each alone, all but each."""
    alone = {name: (name,) for name in GUARDS}
    without = {f"all but {name}": tuple(other for other in GUARDS if other != name) for name in GUARDS}
    return {ALL: GUARDS, NONE: (), **alone, **without}


def evaluate(scribe: Scribe, clips: Sequence[Clip]) -> Report:
    """Transcribe each clip under each set of guards. Raises BadRequest if no clip is without speech."""
    if not any(clip.silent for clip in clips):
        raise BadRequest(
            "None of the recordings is without speech: give some in a folder called nonspeech, or with an empty "
            "text in their manifest."
        )
    found: dict[str, list[Heard]] = {name: [] for name in combinations()}
    size, settings = scribe.settings.batch_of("scribe"), scribe.settings
    with progress("guards", len(clips)) as step:
        for start in range(0, len(clips), size):
            batch = clips[start : start + size]
            with remembering(scribe):
                for name, guards in combinations().items():
                    scribe.settings = settings.model_copy(update={"guards": guards})
                    found[name] += hear_batch(scribe, batch)
            step(len(batch))
    scribe.settings = settings
    return report(found, run_on(scribe))


def report(found: dict[str, list[Heard]], run: dict[str, str]) -> Report:
    """Return the shares for each set of guards. Pure."""
    silent = {name: [not one.wordless for one in heard if one.clip.silent] for name, heard in found.items()}
    spoken = {name: [one.wordless for one in heard if not one.clip.silent] for name, heard in found.items()}
    words, silenced = ({name: rate(of) for name, of in counted.items()} for counted in (silent, spoken))
    figures: JsonObject = {
        "clips_without_speech": len(silent[ALL]),
        "clips_with_speech": len(spoken[ALL]),
        **{name: {"gives_words": words[name], "silences_speech": silenced[name]} for name in (ALL, NONE)},
        "alone": {name: words[name] for name in GUARDS},
        "all_but": {name: words[f"all but {name}"] for name in GUARDS},
        "alone_silences": {name: silenced[name] for name in GUARDS},
        "all_but_silences": {name: silenced[f"all but {name}"] for name in GUARDS},
        "left": [_left(one) for one in found[ALL] if one.clip.silent and not one.wordless],
        "lost": [str(one.clip.path) for one in found[ALL] if not one.clip.silent and one.wordless],
    }
    rows = [
        (guards, _counted(silent[guards]), words[guards], _counted(spoken[guards]), silenced[guards])
        for guards in found
    ]
    columns = (
        "guards",
        "non-speech clips with text",
        "share",
        "speech clips silenced",
        "share",
    )
    tables = [Table("Guards", columns, rows)]
    kept = [(one.clip.path.name, "text without speech", one.transcript.text[:80]) for one in found[ALL]
            if one.clip.silent and not one.wordless]  # fmt: skip
    kept += [(one.clip.path.name, "speech silenced", ", ".join(one.transcript.guards)) for one in found[ALL]
             if not one.clip.silent and one.wordless]  # fmt: skip
    if kept:
        tables.append(Table("Errors with all guards", ("file", "error", "text, or guards that fired"), kept))
    return Report("guards", figures, tuple(tables), run_on=run)


@contextmanager
def remembering(scribe: Scribe) -> Iterator[None]:
    """Cache the Scribe's decoded windows inside the block."""
    heard, memory = scribe.transcriber, Memory(scribe.transcriber)
    scribe.transcriber = memory
    try:
        yield
    finally:
        scribe.transcriber = heard


class Memory(Transcriber):
    """A Transcriber that caches its results by audio and window."""

    def __init__(self, listener: Transcriber) -> None:
        vars(self).update(vars(listener))
        self._known: dict[tuple[object, ...], list[Work]] = {}

    def hear(self, model: Any, work: Sequence[Work], meter: ProgressMeter | None = None) -> list[Work]:
        """As Transcriber.hear: returns the windows, each followed by the rest that another round must decode."""
        keys = [self._key(item) for item in work]  # taken first, because decoding shortens windows
        new = {key: item for key, item in zip(keys, work, strict=True) if key not in self._known}
        asked = [(key, item.sound, item.window) for key, item in new.items()]
        for one in super().hear(model, list(new.values()), meter):
            while not self._is_of(one, *asked[0]):
                asked.pop(0)
            self._known.setdefault(asked[0][0], []).append(one)
        return [
            replace(one, sound=item.sound, guards=[])
            for key, item in zip(keys, work, strict=True)
            for one in self._known[key]
        ]

    def _is_of(self, one: Work, key: tuple[object, ...], sound: PreparedAudio, window: Window) -> bool:
        """Whether a decoded window is the next of a requested one: itself, its rest, or a half of it. They come in the
        order in which they were requested."""
        after = one.window.start_s > self._known[key][-1].window.start_s if key in self._known else True
        return one.sound is sound and window.start_s <= one.window.start_s < window.end_s and after

    @staticmethod
    def _key(item: Work) -> tuple[object, ...]:
        """Return everything that affects decoding and the search for the rest of a window."""
        sound = item.sound
        digest = blake2b(sound.samples.tobytes(), digest_size=16).digest()
        left = tuple(sound.spans) if item.timestamps else ()
        asked = sound.gain, sound.language, sound.task, sound.fallback
        return (digest, *asked, left, item.window, item.timestamps, item.language)


def _left(one: Heard) -> dict[str, str]:
    return {"file": str(one.clip.path), "heard": one.transcript.text}


def _counted(of: Sequence[bool]) -> str:
    return f"{sum(of)} of {len(of)}"
