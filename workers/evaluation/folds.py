"""`golem eval ks --folds`: the limits of `unknown` chosen on some speakers, and the accuracy on the others."""

import math
import random
from collections.abc import Mapping, Sequence

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Vocabulary
from golem_chain.workers.evaluation.datasets import UNKNOWN, Clip
from golem_chain.workers.evaluation.guards import remembering
from golem_chain.workers.evaluation.inference import hear_batch, progress, run_on
from golem_chain.workers.evaluation.keywords import answer, gold
from golem_chain.workers.evaluation.report import Report, Table
from golem_chain.workers.stages.scribe.engine import Scribe

#: GOLEM_VOCABULARY_FLOOR and GOLEM_VOCABULARY_MARGIN that are tried, natural logarithms.
FLOORS, MARGINS = (2.5, 3.0, 3.5, 4.0, 5.0, 6.5), (1.0, 1.7, 2.5, 4.0, 8.0)
#: Divisions into folds, and samples of the bootstrap.
_ROUNDS, _SAMPLES = 5, 2000

#: Floor and margin.
Pair = tuple[float, float]


def evaluate(scribe: Scribe, clips: Sequence[Clip], vocabulary: Vocabulary, folds: int) -> Report:
    """Cross-validate over speakers. Raises BadRequest if there are fewer speakers than folds."""
    speakers = [clip.speaker or str(clip.path) for clip in clips]
    if len(set(speakers)) < folds:
        raise BadRequest(f"{folds} folds need {folds} speakers, but there are {len(set(speakers))}: lower --folds.")
    golds = [gold(clip, vocabulary.phrases) for clip in clips]
    right: dict[Pair, list[bool]] = {(floor, margin): [] for floor in FLOORS for margin in MARGINS}
    size, settings = scribe.settings.batch_of("scribe"), scribe.settings
    with progress("folds", len(clips)) as step:
        for start in range(0, len(clips), size):
            batch = clips[start : start + size]
            with remembering(scribe):
                for floor, margin in right:
                    limits = {"vocabulary_floor": floor, "vocabulary_margin": margin}
                    scribe.settings = settings.model_copy(update=limits)
                    answers = map(answer, hear_batch(scribe, batch, vocabulary))
                    right[floor, margin] += [a == g for a, g in zip(answers, golds[start:], strict=False)]
            step(len(batch))
    scribe.settings = settings
    rounds = [cross_validated(right, speakers, folds, seed) for seed in range(_ROUNDS)]
    mean = [sum(one[n] for one, _ in rounds) / _ROUNDS for n in range(len(clips))]
    return _report(mean, speakers, golds, [pair for _, pairs in rounds for pair in pairs], folds, run_on(scribe))


def cross_validated(
    right: Mapping[Pair, Sequence[bool]], speakers: Sequence[str], folds: int, seed: int
) -> tuple[list[bool], list[Pair]]:
    """Whether each clip is right under the pair that was best on the other folds, and the pair of each fold. No speaker
    is in two folds; of equally good pairs the middle one counts."""
    names = sorted(set(speakers))
    random.Random(seed).shuffle(names)
    fold = {name: place % folds for place, name in enumerate(names)}
    found, chosen = [False] * len(speakers), []
    for held in range(folds):
        inside = [n for n, name in enumerate(speakers) if fold[name] != held]
        counts = {pair: sum(ok[n] for n in inside) for pair, ok in right.items()}
        best = [pair for pair, count in counts.items() if count == max(counts.values())]
        chosen.append(best[len(best) // 2])
        for n, name in enumerate(speakers):
            if fold[name] == held:
                found[n] = right[chosen[-1]][n]
    return found, chosen


def interval(right: Sequence[float], speakers: Sequence[str]) -> tuple[float, float]:
    """The 95 % interval of the mean: a bootstrap over speakers, whose clips are not independent, widened to Wilson's
    interval, since a bootstrap knows no errors but those that occurred. Sources: Efron and Tibshirani, "An Introduction
    to the Bootstrap", 1993, percentile method; Wilson, "Probable inference", JASA 22, 1927."""
    by: dict[str, list[float]] = {}
    for name, value in zip(speakers, right, strict=True):
        by.setdefault(name, []).append(value)
    draw, groups = random.Random(0), list(by.values())
    means = sorted(
        sum(map(sum, sample)) / sum(map(len, sample))
        for sample in (draw.choices(groups, k=len(groups)) for _ in range(_SAMPLES))
    )
    low, high = wilson(sum(right) / len(right), len(right))
    return round(min(low, means[int(0.025 * _SAMPLES)]), 4), round(max(high, means[int(0.975 * _SAMPLES)]), 4)


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share of `count`; 95 % by default."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _report(
    right: Sequence[float],
    speakers: Sequence[str],
    golds: Sequence[str],
    chosen: Sequence[Pair],
    folds: int,
    run: dict[str, str],
) -> Report:
    low, high = interval(right, speakers)
    unknown = [value for value, said in zip(right, golds, strict=True) if said == UNKNOWN]
    floor, margin = max(set(chosen), key=lambda pair: (chosen.count(pair), pair))
    figures: JsonObject = {
        "clips": len(right),
        "speakers": len(set(speakers)),
        "folds": folds,
        "accuracy": round(sum(right) / len(right), 4),
        "accuracy_low": low,
        "accuracy_high": high,
        "unknown_accuracy": round(sum(unknown) / len(unknown), 4) if unknown else None,
        "floor": floor,
        "margin": margin,
    }
    table = Table(
        f"Keywords of speakers not used to choose floor and margin, {folds} folds",
        ("clips", "speakers", "accuracy", "95 % interval", "unknown", "floor", "margin"),
        [
            (figures["clips"], figures["speakers"], figures["accuracy"], f"{low:.3f} to {high:.3f}",
             figures["unknown_accuracy"], f"{floor:g}", f"{margin:g}")
        ],
    )  # fmt: skip
    return Report("folds", figures, (table,), run_on=run)
