"""`--noise` and `--telephone` of `golem eval asr` and `golem eval guards`: the same recordings under each condition."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from golem_chain.shared.errors import BadRequest, GolemError
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.evaluation import asr, plots
from golem_chain.workers.evaluation.conditions import (
    CLEAN,
    Condition,
    Noise,
    choose,
    computed,
    conditions,
    mix,
    part_of,
    telephone,
    wav,
)
from golem_chain.workers.evaluation.datasets import Clip, read_clips
from golem_chain.workers.evaluation.inference import Heard, Reader, hear
from golem_chain.workers.evaluation.report import Report, Table
from golem_chain.workers.stages.scribe.audio.decode import decode
from golem_chain.workers.stages.scribe.engine import Scribe

PICTURE = "conditions.png"
#: Noises that get a curve of their own; more would not be told apart.
_CURVES = 4

#: Transcribes clips read by a reader: `inference.hear` of a Scribe, or another program.
Listener = Callable[[Sequence[Clip], Reader, str], Sequence[Heard]]


@dataclass(frozen=True)
class Treatment:
    """The conditions, and the noises of which each recording gets one, chosen by the seed."""

    conditions: tuple[Condition, ...]
    noises: tuple[Noise, ...]
    seed: int
    settings: Settings

    def noise_of(self, clip: Clip) -> str:
        """Return the name of the noise that is mixed into a clip."""
        chosen = choose(self.noises, clip.path, self.seed)
        return chosen[0].name if chosen else ""

    def reader(self, condition: Condition) -> Reader:
        """Return a function that reads a clip under a condition, as bytes of an audio file. It raises what `decode`
        raises, OSError, and BadRequest if the only noise is the clip itself."""

        def read(clip: Clip) -> bytes:
            data = clip.path.read_bytes()
            if condition == CLEAN:
                return data
            samples = decode(data, str(clip.path), self.settings)
            if condition.telephone:
                return telephone(samples)
            assert condition.snr_db is not None
            chosen = choose(self.noises, clip.path, self.seed)
            if chosen is None:
                raise BadRequest(f"{clip.path} cannot be its own noise: give more recordings of noise.")
            noise, random = chosen
            return wav(mix(samples, part_of(noise, len(samples), random), condition.snr_db))

        return read


def treatment(
    snrs_db: Sequence[float], folder: Path | None, seed: int, settings: Settings, *, phone: bool
) -> Treatment:
    """Return the treatment that the options ask for: with the noises of a folder or manifest, or computed ones.

    Raises BadRequest for a folder without recordings, and for one that is silent or cannot be decoded.
    """
    if folder is None:
        noises = computed(seed)
    else:
        noises = tuple(_noise(path, settings) for path in dict.fromkeys(clip.path for clip in read_clips([folder])))
    return Treatment(conditions(snrs_db, telephone=phone), noises, seed, settings)


def extend(
    report: Report, scribe: Scribe, clips: Sequence[Clip], treatment: Treatment, hotwords: Sequence[str] = ()
) -> Report:
    """Return the report of an evaluation with figures, tables and a plot of the conditions added."""
    multilingual = bool(scribe.specials.languages)
    mine = [clip for clip in clips if clip.silent or multilingual or clip.language in (None, "en")]
    found = measure(
        lambda some, read, what: hear(scribe, some, what, hotwords=hotwords, read=read).heard, mine, treatment
    )
    shown = tables(found, multilingual=multilingual)
    plot = draw(found)
    return replace(
        report,
        figures=report.figures | {"conditions": found, "seed": treatment.seed},
        tables=(*report.tables, *shown),
        draw={**report.draw, **({PICTURE: plot} if plot else {})},
    )


def measure(listen: Listener, clips: Sequence[Clip], treatment: Treatment) -> list[JsonObject]:
    """Return the figures of each condition."""
    return [
        figures(condition, listen(clips, treatment.reader(condition), condition.name), treatment)
        for condition in treatment.conditions
    ]


def figures(condition: Condition, heard: Sequence[Heard], treatment: Treatment) -> JsonObject:
    """Return word errors, lost speech, invented text and detected languages under a condition."""
    scored = [one for clip in heard if not clip.clip.silent and (one := asr.score(clip)) is not None]
    noises = [treatment.noise_of(one.heard.clip) for one in scored] if condition.snr_db is not None else []
    by_noise = {
        name: asr.rates([one for one, of in zip(scored, noises, strict=True) if of == name])
        for name in sorted(set(noises))
    }
    spoken = [one for one in heard if not one.clip.silent]
    silent = [one for one in heard if one.clip.silent]
    told = [one for one in spoken if one.clip.language]
    return {
        "condition": condition.name,
        "snr_db": condition.snr_db,
        "telephone": condition.telephone,
        **asr.rates(scored),
        "clips_with_speech": len(spoken),
        "silenced": sum(one.wordless for one in spoken),
        "clips_without_speech": len(silent),
        "with_words": sum(not one.wordless for one in silent),
        "language_clips": len(told),
        "language_right": sum(one.transcript.language == one.clip.language for one in told),
        "failed": sum(one.failed for one in heard),
        "by_noise": by_noise,
    }


def tables(found: Sequence[JsonObject], *, multilingual: bool) -> tuple[Table, ...]:
    """Return the table of the conditions, and the word error rates by noise if there are several noises."""
    columns = ["condition", "files", "words", "WER", "empty", "speech clips silenced", "non-speech clips with text"]
    rows: list[list[object]] = [
        [
            one["condition"],
            one["files"],
            one["words"],
            _percent(one["wer"]),
            one["silent"],
            f"{one['silenced']} of {one['clips_with_speech']}",
            f"{one['with_words']} of {one['clips_without_speech']}",
        ]
        for one in found
    ]
    if multilingual:
        columns.append("language correct")
        for row, one in zip(rows, found, strict=True):
            row.append(f"{one['language_right']} of {one['language_clips']}")
    made = [Table("Conditions", tuple(columns), [tuple(row) for row in rows])]
    noisy = [one for one in found if one["by_noise"]]
    names = sorted({name for one in noisy for name in one["by_noise"]})
    if len(names) > 1:
        lines = [(name, *(_percent(one["by_noise"].get(name, {}).get("wer")) for one in noisy)) for name in names]
        made.append(Table("WER by noise", ("noise", *(str(one["condition"]) for one in noisy)), lines))
    return tuple(made)


def draw(found: Sequence[JsonObject]) -> Callable[[Path], None] | None:
    """Return a function that plots WER and the guards' errors against the SNR; None with fewer than two SNRs."""
    noisy = [one for one in found if one["snr_db"] is not None]
    if len(noisy) < 2:
        return None
    snrs = [one["snr_db"] for one in noisy]
    names = sorted({name for one in noisy for name in one["by_noise"]})
    wer = {"all": [one["wer"] for one in noisy]}
    if 1 < len(names) <= _CURVES:
        wer |= {name: [one["by_noise"].get(name, {}).get("wer") for one in noisy] for name in names}
    levels = {one["condition"]: one["wer"] for one in found if one["snr_db"] is None}
    shares = {
        "speech clips silenced": [_share(one["silenced"], one["clips_with_speech"]) for one in noisy],
        "non-speech clips with text": [_share(one["with_words"], one["clips_without_speech"]) for one in noisy],
    }
    return lambda out: plots.noise(out, snrs, wer, levels, shares)


def _noise(path: Path, settings: Settings) -> Noise:
    try:
        return Noise(path.name, decode(path.read_bytes(), str(path), settings), path.resolve())
    except ValueError:
        raise BadRequest(f"The noise {path} is silent: remove it, or record it again.") from None
    except OSError as exc:
        raise BadRequest(f"The noise {path} cannot be read: {exc.strerror}.") from None
    except GolemError as exc:
        raise BadRequest(f"The noise {exc.message}") from None


def _percent(wer: float | None) -> str | None:
    return None if wer is None else f"{wer} %"


def _share(count: int, of: int) -> float | None:
    return 100 * count / of if of else None
